//! Wire types as data: the three kinds of the hub's API, the few fields read of a ReplicationSource,
//! and the reader that turns YAML into objects.

pub mod yaml;

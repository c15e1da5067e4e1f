//! Members from Secrets beside the hub.

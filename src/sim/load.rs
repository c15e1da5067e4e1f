//! Puts objects into a simulated cluster as if they had stood there before it started: no door, no managers, no
//! history. A fleet of a million objects stands within seconds.

use serde_json::Value;

use super::actor::Actor;
use super::admission::{self, Unknown};
use super::failure::Failure;
use super::store::Stored;
use super::write::{set_metadata, text};

impl Actor {
    /// Stores an object that carries its `apiVersion`, `kind`, `metadata.creationTimestamp` and status. A watch from
    /// before gets 410.
    pub fn load(&self, mut object: Value) -> Result<(), Failure> {
        let resource = self.resource_of(&object)?;
        let mut inner = self.store().lock();
        admission::check_name(&resource, text(&object, "name"))?;
        let uid = inner.draw_uid();
        let version = inner.next_version();
        set_metadata(&mut object, "uid", Some(uid.into()));
        set_metadata(&mut object, "resourceVersion", Some(version.to_string().into()));
        set_metadata(&mut object, "generation", resource.generation.then(|| 1.into()));
        admission::shape(&mut object, &resource, Unknown::Drop)?;
        inner.table(&resource).load(Stored::new(&object, version));
        Ok(())
    }

    /// Takes all objects of a kind out of a namespace as if they had never been there.
    pub fn unload(&self, (group, plural): (&str, &str), namespace: &str) {
        let mut inner = self.store().lock();
        let Some(resource) = inner.resource(group, plural) else { return };
        let version = inner.next_version();
        inner.table(&resource).unload(namespace, version);
    }
}

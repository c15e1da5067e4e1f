//! Where the object of a custom CA is.

use crate::member::event::ReferencedKind;
use crate::names::{ObjectName, PlacedName};
use crate::policy::{CaSource, CustomCa};

impl CustomCa {
    /// The CA's object, beside the repository Secret.
    pub fn placed(&self, secret: &PlacedName) -> (ReferencedKind, PlacedName) {
        let (kind, name) = match &self.source {
            CaSource::ConfigMap(name) => (ReferencedKind::ConfigMap, name),
            CaSource::Secret(name) => (ReferencedKind::Secret, name),
        };
        let object = ObjectName::new(secret.object.namespace.clone(), name.as_ref());
        (kind, PlacedName { place: secret.place.clone(), object })
    }
}

//! What the simulated controllers look at again and again: objects without the templates that make up most of them, each read once.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::sim::Actor;

/// The objects of a kind in one cluster.
#[derive(Debug)]
pub struct Outlines {
    kind: (&'static str, &'static str),
    /// By resourceVersion, which no two versions share.
    read: HashMap<u64, Arc<Value>>,
}

impl Outlines {
    pub fn of(kind: (&'static str, &'static str)) -> Self {
        Self { kind, read: HashMap::new() }
    }

    /// All there are, by namespace and name.
    pub fn look(&mut self, actor: &Actor) -> Vec<Arc<Value>> {
        let mut before = std::mem::take(&mut self.read);
        let stored = actor.stored(self.kind).into_iter();
        stored
            .map(|stored| {
                let version = stored.resource_version;
                let outline = before.remove(&version).unwrap_or_else(|| Arc::new(outline(stored.value())));
                self.read.insert(version, outline.clone());
                outline
            })
            .collect()
    }
}

fn outline(mut object: Value) -> Value {
    for (place, fields) in [
        ("/metadata", &["managedFields", "annotations", "labels"][..]),
        ("/spec", &["jobTemplate", "template", "containers", "volumes"]),
    ] {
        let Some(map) = object.pointer_mut(place).and_then(Value::as_object_mut) else { continue };
        for field in fields {
            map.remove(*field);
        }
    }
    object
}

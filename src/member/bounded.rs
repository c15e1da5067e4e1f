//! Reads JSON that users wrote to a bounded depth: what is nested deeper reads as null. The parser would refuse it, and
//! the list that it stands in with it, so that one object hid all others.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Fields that are read lie six levels deep, embedded Kubernetes types a dozen; the parser takes 128 from the top.
const DEPTH_MAX: usize = 64;

/// For `#[serde(deserialize_with)]`.
pub fn value<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    Bounded(DEPTH_MAX).deserialize(from)
}

/// So many levels are left.
#[derive(Clone, Copy)]
struct Bounded(usize);

impl<'de> DeserializeSeed<'de> for Bounded {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.0 {
            // What is ignored is skipped without recursion.
            0 => from.deserialize_ignored_any(IgnoredAny).map(|_| Value::Null),
            _ => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Bounded {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = from.next_element_seed(Self(self.0 - 1))? {
            all.push(one);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = from.next_key()? {
            all.insert(key, from.next_value_seed(Self(self.0 - 1))?);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::member::wire::Source;

    #[test]
    fn what_is_nested_too_deeply_is_null_and_all_around_it_is_read() {
        let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        let text = format!(
            "[{{\"metadata\": {{\"name\": \"one\"}}, \"spec\": {{\"kopia\": {{\"repository\": \"r\", \"more\": {deep}}}}}}}]"
        );
        let read: Vec<Source> = serde_json::from_str(&text).unwrap();
        assert_eq!(read[0].spec["kopia"]["repository"], "r");
    }

    #[test]
    fn what_is_not_nested_too_deeply_is_read_as_it_is() {
        let plain = json!({"a": [1, -2, 1.5, "x", null, true, {"b": {"c": []}}]});
        let read = value(&mut serde_json::Deserializer::from_str(&plain.to_string())).unwrap();
        assert_eq!(read, plain);
    }
}

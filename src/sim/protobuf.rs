//! Reads the bodies that kubectl sends in protobuf whatever the server says: those of `create secret`, `create configmap`
//! and `create namespace`. Answers are always JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::failure::Failure;

/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// The object in a body, or None where it is not in protobuf.
pub(super) fn object(body: &[u8]) -> Option<Result<Value, Failure>> {
    let rest = body.strip_prefix(MAGIC)?;
    let refused = || {
        Failure::unsupported_media_type(
            "the simulated server reads protobuf of Secrets, ConfigMaps and Namespaces only; put the object into a file \
             and use `kubectl apply -f`",
        )
    };
    Some(envelope(rest).ok_or_else(refused))
}

fn envelope(bytes: &[u8]) -> Option<Value> {
    let parts = fields(bytes)?;
    let kind = text_at(&fields(first(&parts, 1)?)?, 2)?;
    let parts = fields(first(&parts, 2)?)?;
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata(first(&parts, 1)?)?});
    match kind.as_str() {
        "Secret" => {
            object["data"] = map(&parts, 2, |bytes| STANDARD.encode(bytes))?;
            object["stringData"] = map(&parts, 4, lossy)?;
            if let Some(kind) = text_at(&parts, 3).filter(|kind| !kind.is_empty()) {
                object["type"] = kind.into();
            }
        }
        "ConfigMap" => {
            object["data"] = map(&parts, 2, lossy)?;
            object["binaryData"] = map(&parts, 3, |bytes| STANDARD.encode(bytes))?;
        }
        "Namespace" => {}
        _ => return None,
    }
    Some(object)
}

fn metadata(bytes: &[u8]) -> Option<Value> {
    let parts = fields(bytes)?;
    let mut metadata = Map::new();
    for (number, name) in [(1, "name"), (2, "generateName"), (3, "namespace")] {
        if let Some(text) = text_at(&parts, number).filter(|text| !text.is_empty()) {
            metadata.insert(name.to_owned(), text.into());
        }
    }
    for (number, name) in [(11, "labels"), (12, "annotations")] {
        let entries = map(&parts, number, lossy)?;
        if entries.as_object().is_some_and(|entries| !entries.is_empty()) {
            metadata.insert(name.to_owned(), entries);
        }
    }
    Some(Value::Object(metadata))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn first<'a>(parts: &[(u64, &'a [u8])], number: u64) -> Option<&'a [u8]> {
    parts.iter().find(|(known, _)| *known == number).map(|(_, bytes)| *bytes)
}

fn text_at(parts: &[(u64, &[u8])], number: u64) -> Option<String> {
    first(parts, number).map(lossy)
}

/// The entries of a map field.
fn map(parts: &[(u64, &[u8])], number: u64, value: impl Fn(&[u8]) -> String) -> Option<Value> {
    let mut entries = Map::new();
    for (_, bytes) in parts.iter().filter(|(known, _)| *known == number) {
        let entry = fields(bytes)?;
        entries.insert(text_at(&entry, 1)?, value(first(&entry, 2).unwrap_or_default()).into());
    }
    Some(Value::Object(entries))
}

/// The fields of a message that have bytes; numbers are passed over.
fn fields(mut rest: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (tag, after) = number(rest)?;
        rest = match tag & 7 {
            0 => number(after)?.1,
            1 => after.get(8..)?,
            2 => {
                let (length, after) = number(after)?;
                let (bytes, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                found.push((tag >> 3, bytes));
                after
            }
            5 => after.get(4..)?,
            _ => return None,
        };
    }
    Some(found)
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(index * 7).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn body(kind: &str, object: &[u8]) -> Vec<u8> {
        let kind = [message(1, b"v1"), message(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), message(1, &kind), message(2, object)].concat()
    }

    #[test]
    fn a_secret_in_protobuf_is_read_as_the_same_secret_in_json() {
        let entry = [message(1, b"key"), message(2, b"\xff\x00")].concat();
        let secret = [message(1, &message(1, b"mine")), message(2, &entry), message(3, b"Opaque")].concat();
        let read = object(&body("Secret", &secret)).unwrap().unwrap();
        assert_eq!(read["metadata"], json!({"name": "mine"}));
        assert_eq!((&read["data"], &read["type"]), (&json!({"key": "/wA="}), &json!("Opaque")));
    }

    #[test]
    fn a_body_cut_off_at_any_byte_is_refused_or_read_but_never_a_panic() {
        let whole = body("Namespace", &message(1, &message(1, b"mine")));
        assert_eq!(object(&whole).unwrap().unwrap()["metadata"]["name"], "mine");
        for end in MAGIC.len()..whole.len() {
            assert!(object(&whole[..end]).unwrap().is_err(), "{end}");
        }
        assert!(object(&body("Pod", b"")).unwrap().is_err());
        assert!(object(b"{}").is_none());
    }
}

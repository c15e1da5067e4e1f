//! API servers of which one feature is broken, one at a time: what the suite must notice.
//!
//! A broken server is the simulated one behind a client that spoils requests on their way in or answers on their way out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Map, Value, json};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Spoiled = UnsyncBoxBody<bytes::Bytes, Error>;

/// A request on its way to the server.
#[derive(Clone)]
pub struct Ask {
    pub method: String,
    pub path: String,
    /// As they are encoded.
    pub query: Vec<(String, String)>,
    pub accept: String,
    pub content_type: String,
    pub body: Value,
}

/// An answer on its way back, or one event of a watch (`/object`).
pub struct Answer {
    pub code: u16,
    pub body: Value,
}

/// What was answered last, by uid, else by path.
pub type Memory = BTreeMap<String, Value>;

#[derive(Clone, Copy)]
pub enum Breakage {
    /// The server does not see a part of the request, or sees another one.
    Ask(fn(&mut Ask)),
    /// The server answers something else.
    Answer(fn(&Ask, &mut Answer)),
    /// The server remembers what it should have forgotten.
    Memory(fn(&Ask, &mut Answer, &Value)),
    /// Events of watches are spoiled.
    Event(fn(&mut Value)),
    /// Events of watches are sent twice.
    Twice,
    /// Whoever asks counts as the administrator.
    Anybody,
}

impl Ask {
    pub fn is_apply(&self) -> bool {
        self.content_type == "application/apply-patch+yaml"
    }

    pub fn is_merge(&self) -> bool {
        self.content_type == "application/merge-patch+json"
    }

    pub fn is_watch(&self) -> bool {
        self.query.iter().any(|(key, _)| key == "watch")
    }

    pub fn writes(&self) -> bool {
        self.method != "GET"
    }

    pub fn forget(&mut self, key: &str) {
        self.query.retain(|(known, _)| known != key);
    }

    pub fn forget_field(&mut self, parent: &str, field: &str) {
        if let Some(map) = self.body.pointer_mut(parent).and_then(Value::as_object_mut) {
            map.remove(field);
        }
    }
}

/// The client of a server that is broken in this one way.
pub fn client(inner: kube::Client, breakage: Breakage) -> kube::Client {
    let memory = Arc::new(Mutex::new(Memory::new()));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, memory) = (inner.clone(), memory.clone());
        async move { pass(inner, breakage, &memory, request).await }
    });
    kube::Client::new(service, "default")
}

async fn pass(
    inner: kube::Client,
    breakage: Breakage,
    memory: &Mutex<Memory>,
    request: Request<Body>,
) -> Result<Response<Spoiled>, Error> {
    let (mut ask, raw) = read(request).await?;
    let original = ask.body.clone();
    if let Breakage::Ask(spoil) = breakage {
        spoil(&mut ask);
    }
    // What is no JSON stays as it came.
    let body = if ask.body == original { raw } else { ask.body.to_string().into_bytes() };
    let response = inner.send(write(&ask, body)?).await?;
    let (parts, body) = response.into_parts();
    if ask.is_watch() && parts.status == 200 {
        return Ok(Response::from_parts(parts, spoil_events(body, breakage)));
    }
    let bytes = body.collect().await?.to_bytes();
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
    let mut answer = Answer { code: parts.status.as_u16(), body };
    match breakage {
        Breakage::Answer(spoil) => spoil(&ask, &mut answer),
        Breakage::Memory(spoil) => {
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            let uid = answer.body.pointer("/metadata/uid").and_then(Value::as_str);
            let last = memory.insert(uid.unwrap_or(&ask.path).to_owned(), answer.body.clone());
            if let Some(last) = last {
                spoil(&ask, &mut answer, &last);
            }
        }
        Breakage::Ask(_) | Breakage::Event(_) | Breakage::Twice | Breakage::Anybody => {}
    }
    let body = match answer.body {
        Value::String(text) => whole(text.into()),
        body => whole(body.to_string().into()),
    };
    Ok(Response::builder().status(answer.code).header("content-type", "application/json").body(body)?)
}

async fn read(request: Request<Body>) -> Result<(Ask, Vec<u8>), Error> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let pairs = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pair =
        |pair: &str| pair.split_once('=').map_or((pair.to_owned(), String::new()), |(k, v)| (k.into(), v.into()));
    let mut ask = Ask {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: pairs.map(pair).collect(),
        accept: header("accept").to_owned(),
        content_type: header("content-type").to_owned(),
        body: Value::Null,
    };
    let raw = body.collect().await?.to_bytes().to_vec();
    ask.body = serde_json::from_slice(&raw).unwrap_or_default();
    Ok((ask, raw))
}

fn write(ask: &Ask, body: Vec<u8>) -> Result<Request<Body>, Error> {
    let query: Vec<String> = ask.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let joint = if query.is_empty() { "" } else { "?" };
    let mut request = Request::builder()
        .method(ask.method.as_str())
        .uri(format!("{}{joint}{}", ask.path, query.join("&")))
        .header("accept", &ask.accept)
        .header("user-agent", "conformance/1");
    if !ask.content_type.is_empty() {
        request = request.header("content-type", &ask.content_type);
    }
    Ok(request.body(Body::from(body))?)
}

fn whole(bytes: bytes::Bytes) -> Spoiled {
    Full::from(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn spoil_events(body: Body, breakage: Breakage) -> Spoiled {
    if !matches!(breakage, Breakage::Event(_) | Breakage::Twice) {
        return body.map_err(Into::into).boxed_unsync();
    }
    let lines =
        futures::stream::unfold((body.into_data_stream(), Vec::new()), move |(mut bytes, mut rest)| async move {
            loop {
                if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    let mut event: Value = serde_json::from_slice(&line).unwrap_or_default();
                    let times = if matches!(breakage, Breakage::Twice) { 2 } else { 1 };
                    if let Breakage::Event(spoil) = breakage {
                        spoil(&mut event);
                    }
                    let sent = bytes::Bytes::from(format!("{event}\n").repeat(times));
                    return Some((Ok::<_, Error>(Frame::data(sent)), (bytes, rest)));
                }
                match bytes.next().await? {
                    Ok(more) => rest.extend_from_slice(&more),
                    Err(error) => return Some((Err(error.into()), (bytes, rest))),
                }
            }
        });
    StreamBody::new(lines).boxed_unsync()
}

// === ways to spoil a value ===

/// Removes a field wherever it is.
pub fn strip(value: &mut Value, field: &str) {
    match value {
        Value::Object(map) => {
            map.remove(field);
            map.values_mut().for_each(|value| strip(value, field));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, field)),
        _ => {}
    }
}

/// Sets a field of each `metadata`.
pub fn in_metadata(value: &mut Value, spoil: &dyn Fn(&mut Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
                spoil(metadata);
            }
            map.values_mut().for_each(|value| in_metadata(value, spoil));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| in_metadata(item, spoil)),
        _ => {}
    }
}

/// `over` on top of `under`, at every depth.
pub fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// Of `value` what `asked` has too.
pub fn only(value: &mut Value, asked: &Value) {
    match (value, asked) {
        (Value::Object(map), Value::Object(asked)) => {
            map.retain(|key, _| asked.get(key).is_some_and(|value| !value.is_null()));
            for (key, value) in map {
                only(value, &asked[key]);
            }
        }
        (Value::Array(items), Value::Array(asked)) => {
            for (item, asked) in items.iter_mut().zip(asked) {
                only(item, asked);
            }
        }
        _ => {}
    }
}

pub fn is_failure(answer: &Answer) -> bool {
    answer.code >= 400
}

/// An answer that says that all went well, with what was sent.
pub fn accept(ask: &Ask, answer: &mut Answer) {
    answer.code = if ask.method == "POST" { 201 } else { 200 };
    answer.body = if ask.body.is_object() { ask.body.clone() } else { json!({}) };
}

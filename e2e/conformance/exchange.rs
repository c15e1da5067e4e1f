//! Plays a case: sends its requests, keeps its watches open, compares what comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Target;
use super::script::{Action, As, Case, Expectation, Step};

/// Long enough for a wrong event to show.
const QUIET_FOR: Duration = Duration::from_millis(400);

/// Sends raw requests.
pub struct Exchange<'a> {
    client: &'a kube::Client,
    patience: Duration,
}

pub struct Reply {
    pub code: u16,
    pub body: Value,
}

impl<'a> Exchange<'a> {
    pub fn new(client: &'a kube::Client, patience: Duration) -> Self {
        Self { client, patience }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, String)>,
        form: Option<&str>,
    ) -> Result<Reply, String> {
        let mut request = Request::builder().method(method).uri(path).header("accept", accept(form));
        request = request.header("user-agent", "conformance/1");
        let body = match body {
            Some((content_type, text)) => {
                request = request.header("content-type", content_type);
                Body::from(text.into_bytes())
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(|error| error.to_string())?;
        let whole = async {
            let response = self.client.send(request).await.map_err(|error| error.to_string())?;
            let code = response.status().as_u16();
            let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
            Ok(Reply { code, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) })
        };
        timeout(self.patience, whole).await.map_err(|_| format!("no answer within {:?}", self.patience))?
    }
}

fn accept(form: Option<&str>) -> &'static str {
    match form {
        Some("metadata") => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        Some("metadatalist") => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        Some("table") => "application/json;as=Table;g=meta.k8s.io;v=v1",
        _ => "application/json",
    }
}

/// Kinds that cases may name by their plural alone: (plural, API version, kind).
const KINDS: &[(&str, &str, &str)] = &[
    ("configmaps", "v1", "ConfigMap"),
    ("secrets", "v1", "Secret"),
    ("serviceaccounts", "v1", "ServiceAccount"),
    ("pods", "v1", "Pod"),
    ("events", "v1", "Event"),
    ("events.events.k8s.io", "events.k8s.io/v1", "Event"),
    ("jobs", "batch/v1", "Job"),
    ("cronjobs", "batch/v1", "CronJob"),
    ("leases", "coordination.k8s.io/v1", "Lease"),
    ("widgets", "conformance.example.com/v1", "Widget"),
];

/// One case under way.
pub struct Session<'a> {
    target: &'a Target,
    namespace: &'a str,
    names: BTreeMap<String, String>,
    watches: BTreeMap<String, BoxStream<'static, Result<Value, String>>>,
}

impl<'a> Session<'a> {
    pub fn new(target: &'a Target, namespace: &'a str) -> Self {
        let names = BTreeMap::from([("NS".to_owned(), namespace.to_owned())]);
        Self { target, namespace, names, watches: BTreeMap::new() }
    }

    pub async fn run(mut self, case: &Case) -> Result<(), String> {
        for step in &case.steps {
            self.step(step).await.map_err(|error| format!("line {}: {}\n    {error}", step.line, step.text))?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        let reply = match &step.action {
            Action::Request { user, method, form, path, body } => {
                self.request(*user, method, form.as_deref(), path, body.as_deref()).await?
            }
            Action::Watch { name, form, path } => {
                let stream = self.open(path, form.as_deref()).await?;
                self.watches.insert(name.clone(), stream);
                return Ok(());
            }
            Action::Event { name, kind } => self.event(name, kind).await?,
            Action::Quiet { name } => {
                let watch = self.watches.get_mut(name).ok_or("no such watch")?;
                return match timeout(QUIET_FOR, watch.next()).await {
                    Err(_) => Ok(()),
                    Ok(Some(event)) => Err(format!("an event came: {}", event?)),
                    Ok(None) => Err("it ended".to_owned()),
                };
            }
            Action::End { name } => {
                let watch = self.watches.get_mut(name).ok_or("no such watch")?;
                return match timeout(self.target.patience, watch.next()).await {
                    Ok(None) => Ok(()),
                    Ok(Some(event)) => Err(format!("an event came: {}", event?)),
                    Err(_) => Err("it did not end".to_owned()),
                };
            }
        };
        for expectation in &step.expectations {
            expectation.check(reply.code, &reply.body, |text| self.named(text))?;
            if let Expectation::Save(name, path) = expectation {
                let value = reply.body.pointer(path).ok_or_else(|| format!("nothing to save at {path}"))?;
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.names.insert(name.clone(), text);
            }
        }
        Ok(())
    }

    fn named(&self, text: &str) -> String {
        // Longer names first, so that none is taken for the head of another.
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        names.into_iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
    }

    /// The whole path, and the kind where it is known.
    fn resolve(&self, path: &str) -> (String, Option<(&'static str, &'static str)>) {
        let path = self.named(path);
        if path.starts_with('/') {
            return (path, None);
        }
        let plural = path.split(['/', '?']).next().unwrap_or_default();
        let (_, version, kind) = KINDS.iter().find(|(known, _, _)| *known == plural).expect("a known plural");
        let base = if version.contains('/') { "apis" } else { "api" };
        // A group behind the plural only tells two kinds of one plural apart.
        let rest = &path[plural.len()..];
        let plural = plural.split('.').next().unwrap_or_default();
        (format!("/{base}/{version}/namespaces/{}/{plural}{rest}", self.namespace), Some((version, kind)))
    }

    async fn request(
        &self,
        user: As,
        method: &str,
        form: Option<&str>,
        path: &str,
        body: Option<&str>,
    ) -> Result<Reply, String> {
        let client = match user {
            As::Admin => &self.target.admin,
            As::Limited => self.target.limited.as_ref().ok_or("no limited user")?,
            As::Stranger => &self.target.stranger,
        };
        let (path, kind) = self.resolve(path);
        let (method, content_type) = match method {
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            "MERGE" => ("PATCH", "application/merge-patch+json"),
            "STRATEGIC" => ("PATCH", "application/strategic-merge-patch+json"),
            "JSON" => ("PATCH", "application/json-patch+json"),
            other => (other, "application/json"),
        };
        let whole = matches!(method, "POST" | "PUT") || content_type == "application/apply-patch+yaml";
        let body = body.map(|text| {
            let text = self.named(text);
            match (serde_json::from_str::<Value>(&text), kind) {
                (Ok(mut value), Some((version, kind))) if whole && value.is_object() => {
                    for (field, known) in [("apiVersion", version), ("kind", kind)] {
                        if value.get(field).is_none() {
                            value[field] = json!(known);
                        }
                    }
                    (content_type, value.to_string())
                }
                _ => (content_type, text),
            }
        });
        Exchange::new(client, self.target.patience).send(method, &path, body, form).await
    }

    async fn open(&self, path: &str, form: Option<&str>) -> Result<BoxStream<'static, Result<Value, String>>, String> {
        let (path, _) = self.resolve(path);
        let joint = if path.contains('?') { '&' } else { '?' };
        let request = Request::builder()
            .uri(format!("{path}{joint}watch=1"))
            .header("accept", accept(form))
            .body(Body::empty())
            .map_err(|error| error.to_string())?;
        let opened = timeout(self.target.patience, self.target.admin.send(request)).await;
        let response = opened.map_err(|_| "no answer")?.map_err(|error| error.to_string())?;
        if response.status() != 200 {
            return Err(format!("opening the watch gave {}", response.status()));
        }
        let bytes = response.into_body().into_data_stream().map_err(|error| error.to_string());
        let lines = futures::stream::unfold((bytes.boxed(), Vec::new()), |(mut bytes, mut buffer)| async move {
            loop {
                if let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    let event = serde_json::from_slice::<Value>(&line).map_err(|error| error.to_string());
                    return Some((event, (bytes, buffer)));
                }
                match bytes.next().await? {
                    Ok(more) => buffer.extend_from_slice(&more),
                    Err(error) => return Some((Err(error), (bytes, buffer))),
                }
            }
        });
        Ok(lines.boxed())
    }

    async fn event(&mut self, name: &str, kind: &str) -> Result<Reply, String> {
        let watch = self.watches.get_mut(name).ok_or("no such watch")?;
        loop {
            let event = timeout(self.target.patience, watch.next()).await.map_err(|_| "no event came")?;
            let event = event.ok_or("the watch ended")??;
            if event["type"] == kind {
                return Ok(Reply { code: 200, body: event });
            }
            // A server may tell how far it is at any time.
            if event["type"] != "BOOKMARK" || !event["object"]["metadata"]["annotations"].is_null() {
                return Err(format!("expected {kind}, got {event}"));
            }
        }
    }
}

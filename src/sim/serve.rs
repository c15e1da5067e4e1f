//! Answers one request of a simulated API server.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};

use super::access::{Asked, Tokens, User};
use super::admission::{Part, Unknown};
use super::body::{Body, sent};
use super::discovery;
use super::events;
use super::failure::{Cause, Failure};
use super::faults::{Faults, Refusal};
use super::present::Form;
use super::protobuf;
use super::read::{self, ListOptions};
use super::request::{Query, Route, Target};
use super::resource::{REVIEWS, Resource};
use super::store::Store;
use super::tally::{REVIEW, Tally};
use super::watch::Watch;
use super::write::{Preconditions, WriteOptions, Written};

/// What etcd takes in one request; the real server's limit too.
const BODY_MAX: usize = 3 << 20;

/// What is no verb on objects.
const OTHER: &str = "other";

/// What every request of a cluster is answered from.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub store: Store,
    pub faults: Faults,
    pub tokens: Tokens,
    pub tally: Tally,
}

/// What a request asks for, as its first line says.
struct Asking {
    route: Route,
    query: Query,
    verb: Result<&'static str, Failure>,
}

impl Asking {
    fn read(request: &Request<Incoming>) -> Self {
        let (route, query) = (Route::parse(request.uri().path()), Query::parse(request.uri().query()));
        let verb = match &route {
            Route::Objects(target) => verb(request.method(), target, &query),
            _ => Ok(OTHER),
        };
        Self { route, query, verb }
    }

    /// As it is counted.
    fn kind(&self) -> &'static str {
        match &self.route {
            Route::Objects(target) if *target.group == *REVIEWS => REVIEW,
            _ => self.verb.as_ref().map_or(OTHER, |verb| verb),
        }
    }
}

/// A request as far as it is read.
struct Call {
    method: Method,
    query: Query,
    form: Form,
    content_type: String,
    manager: String,
    body: Bytes,
}

pub(super) async fn answer(backend: Backend, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let asked = Asking::read(&request);
    backend.tally.count_request(asked.kind());
    backend.faults.until_answering().await;
    let latency = backend.faults.latency();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let response = match serve(&backend, request, asked).await {
        Ok(response) => response,
        Err(failure) => refusal(&failure),
    };
    Ok(sent(response, backend.faults.bodies(), &backend.tally))
}

async fn serve(backend: &Backend, request: Request<Incoming>, asked: Asking) -> Result<Response<Body>, Failure> {
    match backend.faults.refusal() {
        Some(Refusal::TooManyRequests) => return Err(Failure::too_many_requests()),
        Some(Refusal::Unavailable) => return Err(Failure::unavailable()),
        Some(Refusal::Unauthorized) => return Err(Failure::unauthorized()),
        None => {}
    }
    let (parts, body) = request.into_parts();
    let header = |name| parts.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let Asking { route, query, verb } = asked;
    if route == Route::Health {
        return Ok(text(StatusCode::OK, "ok"));
    }
    let user = backend.tokens.user(header(header::AUTHORIZATION))?;
    let target = match route {
        Route::Objects(target) => target,
        other => return Ok(about(backend, &other)),
    };
    let Some(resource) = backend.store.lock().resource(&target.group, &target.plural) else {
        return Ok(text(StatusCode::NOT_FOUND, "404 page not found"));
    };
    if *resource.version != *target.version {
        return Ok(text(StatusCode::NOT_FOUND, "404 page not found"));
    }
    let verb = verb?;
    if &*resource.group != REVIEWS {
        user.check(&Asked::of(verb, &target))?;
    }
    let agent = header(header::USER_AGENT).unwrap_or("unknown");
    let call = Call {
        form: Form::accepted(header(header::ACCEPT))?,
        content_type: header(header::CONTENT_TYPE).unwrap_or("application/json").to_owned(),
        manager: query.get("fieldManager").unwrap_or(agent.split('/').next().unwrap_or(agent)).to_owned(),
        method: parts.method,
        query,
        body: read_body(body).await?,
    };
    objects(backend, &user, &resource, &target, &call, verb)
}

async fn read_body(body: Incoming) -> Result<Bytes, Failure> {
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::too_large_body()),
        Err(error) => Err(Failure::bad_request(format!("read the request's body: {error}"))),
    }
}

/// What the cluster says of itself.
fn about(backend: &Backend, route: &Route) -> Response<Body> {
    let resources = backend.store.lock().resources();
    let found = match route {
        Route::Version => Some(discovery::version()),
        Route::CoreVersions => Some(discovery::core_versions()),
        Route::Groups => Some(discovery::groups(&resources)),
        Route::Group(group) => discovery::group(&resources, group),
        Route::Kinds { group, version } => discovery::kinds(&resources, group, version),
        Route::OpenApiIndex => Some(discovery::open_api_index(&resources)),
        Route::OpenApi { group, version } => discovery::open_api(&resources, group, version),
        Route::Health | Route::Objects(_) | Route::Unknown => None,
    };
    match found {
        Some(found) => json_response(StatusCode::OK, found.to_string().into()),
        None => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn verb(method: &Method, target: &Target, query: &Query) -> Result<&'static str, Failure> {
    let named = target.name.is_some();
    Ok(match (method, named) {
        (&Method::GET, _) if query.is_set("watch") => "watch",
        (&Method::GET, true) => "get",
        (&Method::GET, false) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, true) => "update",
        (&Method::PATCH, true) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        _ => return Err(Failure::method_not_allowed()),
    })
}

fn objects(
    backend: &Backend,
    user: &User,
    resource: &Arc<Resource>,
    target: &Target,
    call: &Call,
    verb: &str,
) -> Result<Response<Body>, Failure> {
    let part = match target.subresource.as_deref() {
        None | Some("finalize") => Part::Main,
        Some("status") if resource.status => Part::Status,
        Some("log" | "exec" | "attach" | "portforward") => {
            return Err(Failure::bad_request(
                "no container runs in a simulated cluster, so there is nothing to see here",
            ));
        }
        Some(_) => return Ok(text(StatusCode::NOT_FOUND, "404 page not found")),
    };
    if resource.namespaced && target.namespace.is_none() && !matches!(verb, "list" | "watch") {
        return Err(Failure::method_not_allowed());
    }
    if &*resource.group == REVIEWS {
        let review = user.review(parse(&call.body, &resource.kind)?);
        return Ok(json_response(StatusCode::CREATED, review.to_string().into()));
    }
    let place = (target.namespace(), target.name.as_deref().unwrap_or_default());
    match verb {
        "watch" => watch(backend, resource, target, call),
        "list" => {
            let options = ListOptions::read(target, &call.query, resource)?;
            if backend.faults.expires_versions() && options.continues() {
                return Err(read::token_expired());
            }
            let asked = call.query.resource_version()?;
            let page = backend.store.lock().list(resource, &options, asked, call.form)?;
            Ok(json_response(StatusCode::OK, page))
        }
        "get" => {
            let inner = backend.store.lock();
            let found = inner.find(resource, place.0, place.1)?;
            Ok(json_response(StatusCode::OK, call.form.object(&found.json, resource, true, inner.now())))
        }
        "delete" => delete(backend, resource, place, call),
        "deletecollection" => delete_all(backend, resource, target, call),
        _ => write(backend, resource, place, part, call),
    }
}

fn watch(backend: &Backend, resource: &Arc<Resource>, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
    let mut target = target.clone();
    let mut query = call.query.clone();
    if let Some(name) = target.name.take() {
        query.add_field_selector(&format!("metadata.name={name}"));
    }
    if backend.faults.ends_watches_at_once() {
        return Ok(json_response(StatusCode::OK, Bytes::new()));
    }
    let watch = Watch::open(&backend.store, &backend.faults, resource.clone(), (&target, &query), call.form)?;
    let frames = watch.into_stream().map(|line| line.map(Frame::data));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn write_options(call: &Call) -> Result<WriteOptions, Failure> {
    let dry_run = match call.query.get("dryRun") {
        None => false,
        Some("All") => true,
        Some(_) => return Err(Failure::bad_request("invalid dryRun: only All is known")),
    };
    let strict = call.query.get("fieldValidation") == Some("Strict");
    Ok(WriteOptions {
        manager: call.manager.clone(),
        dry_run,
        unknown: if strict { Unknown::Refuse } else { Unknown::Drop },
        force: call.query.is_set("force"),
    })
}

fn write(
    backend: &Backend,
    resource: &Arc<Resource>,
    place: (&str, &str),
    part: Part,
    call: &Call,
) -> Result<Response<Body>, Failure> {
    let options = write_options(call)?;
    let kept = events::stored(&backend.store, resource);
    let body = || Ok::<_, Failure>(events::written(parse(&call.body, &resource.kind)?, resource));
    let before = backend.store.lock().find(&kept, place.0, place.1).ok();
    let (stored, created): Written = match call.method {
        Method::POST if !place.1.is_empty() => return Err(Failure::method_not_allowed()),
        Method::POST => backend.store.lock().create(&kept, place.0, body()?, &options)?,
        Method::PUT => backend.store.lock().update(&kept, place, body()?, part, &options)?,
        _ => patch(backend, (&kept, place, part), (call, &options), body)?,
    };
    if !options.dry_run && before.is_some_and(|before| Arc::ptr_eq(&before, &stored)) {
        backend.tally.count_unchanged();
    }
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let now = backend.store.now();
    Ok(json_response(status, call.form.object(&stored.json, resource, true, now)))
}

/// `body` reads the request's body in the words of what is stored.
fn patch(
    backend: &Backend,
    (resource, place, part): (&Arc<Resource>, (&str, &str), Part),
    (call, options): (&Call, &WriteOptions),
    body: impl Fn() -> Result<Value, Failure>,
) -> Result<Written, Failure> {
    let mut inner = backend.store.lock();
    let mut merge = |change: &Value| {
        inner.patch(resource, place, part, options, |object| {
            json_patch::merge(object, change);
            Ok(())
        })
    };
    match call.content_type.split(';').next().unwrap_or_default().trim() {
        "application/merge-patch+json" => merge(&body()?),
        // Built-in kinds take the strategic form too. What this project sends in it has no lists in it.
        "application/strategic-merge-patch+json" if !resource.custom => merge(&body()?),
        "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
            if call.query.get("fieldManager").is_none() {
                let why = "Required value: is required for apply patch";
                let cause = Cause::new("FieldValueRequired", "fieldManager", why);
                return Err(Failure::invalid("meta.k8s.io", "PatchOptions", "", &[cause]));
            }
            inner.apply(resource, place, body()?, part, options)
        }
        "application/json-patch+json" => {
            let refused = |error: serde_json::Error| Failure::bad_request(format!("read the JSON patch: {error}"));
            let operations: json_patch::Patch = serde_json::from_slice(&call.body).map_err(refused)?;
            inner.patch(resource, place, part, options, |object| {
                json_patch::patch(object, &operations).map_err(|_| {
                    Failure::unprocessable("the server rejected our request due to an error in our request")
                })
            })
        }
        _ => Err(Failure::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )),
    }
}

fn delete_options(call: &Call) -> Result<(Preconditions, WriteOptions), Failure> {
    let body = if call.body.is_empty() { json!({}) } else { parse(&call.body, "DeleteOptions")? };
    let text = |field: &str| body["preconditions"][field].as_str().map(str::to_owned);
    let mut options = write_options(call)?;
    options.dry_run |= body["dryRun"].as_array().is_some_and(|values| values.contains(&"All".into()));
    Ok((Preconditions { uid: text("uid"), resource_version: text("resourceVersion") }, options))
}

fn delete(backend: &Backend, resource: &Resource, place: (&str, &str), call: &Call) -> Result<Response<Body>, Failure> {
    let (preconditions, options) = delete_options(call)?;
    let (stored, gone) = backend.store.lock().delete(resource, place, &preconditions, &options)?;
    if !gone {
        return Ok(json_response(StatusCode::OK, stored.json.clone()));
    }
    let mut details = json!({"name": place.1, "kind": &*resource.plural, "uid": stored.value()["metadata"]["uid"]});
    if !resource.group.is_empty() {
        details["group"] = (*resource.group).into();
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    Ok(json_response(StatusCode::OK, status.to_string().into()))
}

fn delete_all(backend: &Backend, resource: &Resource, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
    let (_, options) = delete_options(call)?;
    let filter = read::filter(target, &call.query, resource)?;
    let mut inner = backend.store.lock();
    let table = inner.table(resource);
    let found: Vec<_> = table.objects.values().filter(|object| filter.admits(object)).cloned().collect();
    for object in &found {
        inner.delete(resource, (&object.namespace, &object.name), &Preconditions::default(), &options)?;
    }
    let metadata = json!({"resourceVersion": inner.resource_version.to_string()});
    let items: Vec<Bytes> = found.iter().map(|object| object.json.clone()).collect();
    Ok(json_response(StatusCode::OK, call.form.list(&items, resource, &metadata, inner.now())))
}

/// JSON, else protobuf, else YAML.
fn parse(body: &[u8], kind: &str) -> Result<Value, Failure> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    if let Some(read) = protobuf::object(body) {
        return read;
    }
    let text = String::from_utf8_lossy(body);
    serde_saphyr::from_str(&text).map_err(|error| {
        Failure::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {error}"))
    })
}

fn refusal(failure: &Failure) -> Response<Body> {
    let status = StatusCode::from_u16(failure.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, failure.status().to_string().into());
    if matches!(failure.code(), 429 | 504) {
        response.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    }
    response
}

fn json_response(status: StatusCode, body: Bytes) -> Response<Body> {
    with_type(status, body, "application/json")
}

fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    with_type(status, Bytes::from_static(body.as_bytes()), "text/plain; charset=utf-8")
}

fn with_type(status: StatusCode, body: Bytes, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

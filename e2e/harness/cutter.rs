//! A proxy between the hub and one API server that can cut lists off: the answer begins, and the connection ends in the
//! middle of it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Fail;
use super::cluster::Cluster;

/// Of a list that is cut off so much comes through.
const LET_THROUGH: usize = 10_000;

type Answer = UnsyncBoxBody<Bytes, Fail>;

/// A running proxy. Dropping it ends it.
pub struct Cutter {
    cuts: watch::Sender<bool>,
    seen: watch::Sender<usize>,
    stop: CancellationToken,
}

#[derive(Clone)]
struct Shared {
    /// Sends what the hub sends, under the hub's own credentials.
    client: kube::Client,
    /// The plural of the kind whose lists are cut off.
    plural: &'static str,
    cuts: watch::Receiver<bool>,
    seen: watch::Sender<usize>,
}

impl Cutter {
    /// Stands before a member for whoever has the kubeconfig that this writes: as `theirs`, at another port.
    pub async fn start(member: &Cluster, plural: &'static str, theirs: &Path, file: &Path) -> Result<Self, Fail> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("https://127.0.0.1:{}", listener.local_addr()?.port());
        let kubeconfig = std::fs::read_to_string(theirs)?;
        std::fs::write(file, kubeconfig.replace(&member.control_plane.url, &url))?;
        let mut nobody = kube::config::Kubeconfig::read_from(theirs)?;
        for user in &mut nobody.auth_infos {
            user.auth_info = Some(kube::config::AuthInfo::default());
        }
        let options = kube::config::KubeConfigOptions::default();
        let client = kube::Client::try_from(kube::Config::from_custom_kubeconfig(nobody, &options).await?)?;
        let (cuts, seen, stop) = (watch::Sender::new(false), watch::Sender::new(0), CancellationToken::new());
        let shared = Shared { client, plural, cuts: cuts.subscribe(), seen: seen.clone() };
        let tls = TlsAcceptor::from(Arc::new(member.server_identity("cutter")?.server_config()?));
        let until = stop.clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, shared) = (tls.clone(), shared.clone());
                tokio::spawn(until.clone().run_until_cancelled_owned(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(shared.clone(), request));
                    // An answer that is cut off ends its connection with an error, as is meant.
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                }));
            }
        }));
        Ok(Self { cuts, seen, stop })
    }

    /// From now on lists end in the middle: those by pages in one that is not their first, and those that come as the
    /// beginning of a watch. Other watches are too old to go on.
    pub fn cut(&self) {
        self.cuts.send_replace(true);
    }

    /// Lists are whole again.
    pub fn mend(&self) {
        self.cuts.send_replace(false);
    }

    /// How many lists were cut off.
    pub fn count(&self) -> usize {
        *self.seen.borrow()
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn answer(shared: Shared, request: Request<Incoming>) -> Result<Response<Answer>, Fail> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let ours = request.uri().path().ends_with(&format!("/{}", shared.plural));
    let streamed = query.contains("sendInitialEvents=true");
    let (watches, goes_on) = (query.contains("watch=true"), query.contains("continue="));
    let mut cuts = shared.cuts.clone();
    if ours && watches && !streamed && *cuts.borrow_and_update() {
        return Ok(expired());
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let answer = shared.client.send(Request::from_parts(head, kube::client::Body::from(body.to_vec()))).await?;
    let (head, body) = answer.into_parts();
    let frames = body.into_data_stream().map_ok(Frame::data).map_err(Fail::from);
    if ours && (goes_on || streamed) && *cuts.borrow() {
        shared.seen.send_modify(|count| *count += 1);
        let mut left = LET_THROUGH;
        let frames = frames.map(move |frame| {
            let frame = frame?;
            let data = frame.into_data().unwrap_or_default();
            let part = data.slice(..data.len().min(left));
            left -= part.len();
            // An error here aborts the connection, whatever was promised of the length.
            if part.is_empty() { Err("cut off".into()) } else { Ok(Frame::data(part)) }
        });
        return Ok(Response::from_parts(head, StreamBody::new(frames).boxed_unsync()));
    }
    let ends = async move {
        if ours && watches {
            let _ = cuts.wait_for(|cuts| *cuts).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    Ok(Response::from_parts(head, StreamBody::new(frames.take_until(Box::pin(ends))).boxed_unsync()))
}

/// What an API server says of a watch from a version that it does not remember.
fn expired() -> Response<Answer> {
    let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old resource version",
        "reason":"Expired","code":410}"#;
    let body = Full::from(status).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::GONE;
    answer
}

//! `/healthz` and `/readyz` for the probes of the Pod, and `/metrics`, over plain HTTP.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the probes are told.
#[derive(Default)]
pub struct Health {
    ready: AtomicBool,
    stopping: AtomicBool,
    metrics: OnceLock<MetricsText>,
}

/// Makes the text of `/metrics`.
type MetricsText = Box<dyn Fn() -> Result<String, fmt::Error> + Send + Sync>;

impl Health {
    /// Answers `/metrics` from now on.
    pub fn set_metrics(&self, text: impl Fn() -> Result<String, fmt::Error> + Send + Sync + 'static) {
        // Set once, when the hub starts.
        let _ = self.metrics.set(Box::new(text));
    }
    /// Policies, ledger and members have been read, and work has begun.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
    /// A graceful stop has begun: no longer ready, still healthy.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.stopping.load(Ordering::Relaxed)
    }
}

async fn ready(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.is_ready() {
        (StatusCode::OK, "ready\n")
    } else if health.stopping.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "reading policies, the ledger and members\n")
    }
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn metrics(State(health): State<Arc<Health>>) -> Result<([(HeaderName, &'static str); 1], String), StatusCode> {
    let text = health.metrics.get().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let text = text().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text))
}

/// Binds at once, so that a port in use is an error at start; serves until cancelled.
pub async fn serve(address: SocketAddr, health: Arc<Health>, cancel: CancellationToken) -> Result<SocketAddr, String> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("failed to listen on {address} for probes: {error}; choose another address with --listen")
    })?;
    let bound = listener.local_addr().map_err(|error| format!("failed to read the address of {address}: {error}"))?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health);
    tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(%error, "serving probes ended");
        }
    });
    Ok(bound)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn it_is_healthy_from_the_start_and_ready_between_reading_and_stopping() {
        let (health, cancel) = (Arc::new(Health::default()), CancellationToken::new());
        let address = serve("127.0.0.1:0".parse().unwrap(), Arc::clone(&health), cancel.clone()).await.unwrap();
        let (status, body) = get(address, "/readyz").await;
        assert_eq!((status, body.trim()), (503, "reading policies, the ledger and members"));
        assert_eq!(get(address, "/healthz").await.0, 200);
        health.set_ready();
        assert_eq!(get(address, "/readyz").await, (200, "ready\n".to_owned()));
        health.set_stopping();
        assert_eq!(get(address, "/readyz").await, (503, "stopping\n".to_owned()));
        assert_eq!(get(address, "/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(get(address, "/anything").await.0, 404);
        cancel.cancel();
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_at_start() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let said = serve(address, Arc::default(), CancellationToken::new()).await.unwrap_err();
        assert!(said.contains(&address.to_string()) && said.contains("--listen"), "{said}");
    }
}

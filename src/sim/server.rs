//! Listens for one simulated cluster: TLS on the loopback address, HTTP/1.1 and HTTP/2.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use super::serve::{Backend, answer};

/// A client that does not finish its handshake within this time is dropped, as on the real server.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// As on the real server: enough for all watches and calls of one client on one connection.
const STREAMS_MAX: u32 = 100;

/// Binds a free port, or the given one.
pub(super) async fn bind(port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Takes connections until it is told to stop.
pub(super) async fn run(listener: TcpListener, tls: Arc<ServerConfig>, backend: Backend, stop: CancellationToken) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors: others may be given back soon.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if backend.faults.refuses() {
            reset(&stream);
            continue;
        }
        let (acceptor, backend, stop) = (acceptor.clone(), backend.clone(), stop.clone());
        tokio::spawn(async move {
            let mut cut = backend.faults.connection_cuts();
            tokio::select! {
                () = connection(stream, acceptor, backend) => {}
                _ = cut.changed() => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Closes with a reset, so that the client sees an error and no clean end.
fn reset(stream: &TcpStream) {
    // Fails only where the client is gone already.
    let _ = stream.set_zero_linger();
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, backend: Backend) {
    // Small events must not wait for more.
    let _ = stream.set_nodelay(true);
    backend.faults.until_speaking().await;
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await else { return };
    let service = service_fn(move |request| answer(backend.clone(), request));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().max_concurrent_streams(STREAMS_MAX);
    // An error here is a client that went away.
    let _ = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await;
}

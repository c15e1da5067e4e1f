//! The network between the hub and one API server, which can be cut.

use std::net::Ipv4Addr;
use std::path::Path;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Fail;
use super::cluster::Cluster;

/// A line that carries bytes both ways. Dropping it ends it.
pub struct Link {
    whole: watch::Sender<bool>,
    stop: CancellationToken,
}

impl Link {
    /// Lays a line to a member, and writes a kubeconfig like `theirs` that goes along it.
    pub async fn lay(member: &Cluster, theirs: &Path, file: &Path) -> Result<Self, Fail> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("https://127.0.0.1:{}", listener.local_addr()?.port());
        let kubeconfig = std::fs::read_to_string(theirs)?;
        std::fs::write(file, kubeconfig.replace(&member.control_plane.url, &url))?;
        let there = member.control_plane.url.trim_start_matches("https://").to_owned();
        let (whole, stop) = (watch::Sender::new(true), CancellationToken::new());
        let state = whole.subscribe();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((near, _)) = listener.accept().await {
                // Whoever calls while it is cut is turned away.
                if *state.borrow() {
                    tokio::spawn(carry(near, there.clone(), state.clone()));
                }
            }
        }));
        Ok(Self { whole, stop })
    }

    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
        self.cut();
    }
}

async fn carry(mut near: TcpStream, there: String, mut state: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(there).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = state.wait_for(|whole| !whole) => {}
    }
}

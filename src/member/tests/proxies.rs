//! Proxies that lead every name to one address, as a bastion does that alone knows a network's names.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The user and password that both ask for.
pub const USER: (&str, &str) = ("hub", "p@ss");

pub struct Proxy {
    pub address: SocketAddr,
    /// Connections made through it.
    used: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn http(to: SocketAddr, host: &'static str) -> Self {
        Self::start(move |stream| connect(stream, to, host)).await
    }

    pub async fn socks5(to: SocketAddr, host: &'static str) -> Self {
        Self::start(move |stream| socks(stream, to, host)).await
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    async fn start<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, used) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let count = used.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(handle(stream));
            }
        });
        Self { address, used }
    }
}

async fn connect(stream: TcpStream, to: SocketAddr, host: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut authorized) = (String::new(), false);
    stream.read_line(&mut first).await?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        // `hub:p@ss`
        authorized |= line.trim().ends_with(" Basic aHViOnBAc3M=");
        if line.trim().is_empty() {
            break;
        }
    }
    if !authorized || !first.starts_with(&format!("CONNECT {host}:")) {
        return stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    join(stream.into_inner(), to).await
}

async fn socks(mut stream: TcpStream, to: SocketAddr, host: &str) -> std::io::Result<()> {
    let [_version, methods] = read(&mut stream).await?;
    let mut offered = vec![0; methods.into()];
    stream.read_exact(&mut offered).await?;
    if !offered.contains(&2) {
        return stream.write_all(&[5, 0xff]).await;
    }
    stream.write_all(&[5, 2]).await?;
    let [_version] = read(&mut stream).await?;
    let (user, password) = (text(&mut stream).await?, text(&mut stream).await?);
    let refused = (user.as_str(), password.as_str()) != USER;
    stream.write_all(&[1, refused.into()]).await?;
    let [_version, _command, _, kind] = read(&mut stream).await?;
    // A name: it is resolved here.
    if refused || kind != 3 || text(&mut stream).await? != host {
        return stream.write_all(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    }
    let [_, _] = read(&mut stream).await?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    join(stream, to).await
}

async fn read<const N: usize>(stream: &mut TcpStream) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn text(stream: &mut TcpStream) -> std::io::Result<String> {
    let [length] = read(stream).await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(String::from_utf8(bytes).unwrap())
}

async fn join(mut stream: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut server).await.map(drop)
}

//! Plain HTTP to a port of this machine.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::Fail;

/// Status and body.
pub async fn send(port: u16, method: &str, path: &str, body: &str) -> Result<(u16, String), Fail> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without a body")?;
    let status = head.split(' ').nth(1).ok_or("an answer without a status")?.parse()?;
    Ok((status, body.to_owned()))
}

pub async fn json(port: u16, method: &str, path: &str, body: &Value) -> Result<Value, Fail> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = send(port, method, path, &body).await?;
    if status != 200 {
        return Err(format!("{method} {path} was answered {status}: {answer}").into());
    }
    Ok(serde_json::from_str(&answer)?)
}

/// One that nobody listens on at this moment.
pub fn free_port() -> Result<u16, Fail> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

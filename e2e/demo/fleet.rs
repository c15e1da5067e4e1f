//! The simulated fleet and a hub on it, each as a process of its own, as people start them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(2);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_volsync-hub"));
    Running(command.args(arguments).stdout(Stdio::piped()).spawn().unwrap())
}

/// What the control endpoint answers.
fn asked(address: &str, method: &str, path: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|_| panic!("{answer}"))
}

fn until(what: &str, mut found: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(seen) = found() {
        assert!(Instant::now() < deadline, "{what} did not happen; last was {seen}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn a_hub_maintains_every_repository_of_a_simulated_fleet_and_then_writes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("fleet");
    let options = ["--members=5", "--sources=10", "--repositories=12", "--seed=7", "--control=127.0.0.1:0"];
    let mut fleet = start(&[&["fleet", "--dir", dir.to_str().unwrap()], &options[..]].concat());
    let mut lines = BufReader::new(fleet.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let control = lines.find_map(|line| Some(line.trim().strip_prefix("control")?.trim().to_owned())).unwrap();
    let address = control.strip_prefix("http://").unwrap().split('/').next().unwrap();

    let kubeconfig = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (hub, members) = (kubeconfig("hub.yaml"), kubeconfig("members"));
    assert_eq!(std::fs::read_dir(&members).unwrap().count(), 5);
    assert_eq!(
        std::fs::metadata(Path::new(&members).join("member-0004.yaml")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let _hub = start(&[
        "run",
        "--leader-election=false",
        "--time-factor=60",
        "--listen=127.0.0.1:0",
        "--log=warn",
        "--hub-kubeconfig",
        &hub,
        "--kubeconfig-dir",
        &members,
    ]);
    until("a claim of each repository", || {
        let told = asked(address, "GET", "/repositories", "");
        if told["claimed"] == 12 { Ok(()) } else { Err(told.to_string()) }
    });
    let writes = || asked(address, "GET", "/requests", "")["total"]["writes"].as_u64().unwrap();
    let mut before = 0;
    until("an end of all writes to members", || {
        std::thread::sleep(Duration::from_secs(3));
        let seen = std::mem::replace(&mut before, writes());
        if seen == before { Ok(()) } else { Err(format!("{before} writes")) }
    });
    assert_eq!(asked(address, "GET", "/repositories", "")["collisions"], 0);

    assert!(Command::new("kill").args(["-INT", &fleet.0.id().to_string()]).status().unwrap().success());
    assert!(fleet.0.wait().unwrap().success());
    assert!(!dir.exists(), "kubeconfigs go with the fleet");
}

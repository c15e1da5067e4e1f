//! A kubeconfig from a Secret: whoever may write that is trusted with nothing but the data in it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde_json::Value;
use volsync_hub::api::yaml;
use volsync_hub::member::kubeconfig::{Credentials, KubeconfigError, read};
use volsync_hub::member::registry::Origin;
use volsync_hub::member::{Fence, MemberSettings};
use volsync_hub::shard::Share;

use super::{assert_message, in_time};

/// In the credentials of the seeds: no word that stands in a message anyway.
const MARK: &str = "hush-hush";

/// Any bytes are a kubeconfig in a Secret.
pub fn kubeconfig(bytes: &[u8]) {
    let outcome = in_time("reading a kubeconfig", || of_secret(bytes));
    let text = String::from_utf8_lossy(bytes);
    let objects: Vec<Value> = yaml::objects(&text).into_iter().flatten().map(|object| object.value).collect();
    let (mut secrets, mut public) = (Vec::new(), Vec::new());
    for object in &objects {
        sort(object, false, &mut secrets, &mut public);
    }
    let shown = match outcome {
        Ok(credentials) => {
            check_accepted(&credentials);
            let again = of_secret(bytes).expect("what was accepted is accepted again");
            assert_eq!(credentials.fingerprint, again.fingerprint);
            format!("{credentials:?} {}", credentials.server())
        }
        Err(error) => {
            assert!(["InvalidKubeconfig", "RefusedKubeconfig"].contains(&error.reason));
            assert_message(&error.message);
            error.to_string()
        }
    };
    for secret in secrets.into_iter().filter(|secret| secret.contains(MARK) && shown.contains(secret)) {
        assert!(public.iter().any(|known| known.contains(secret)), "{secret:?} in {shown:?}");
    }
}

/// It reads no file, runs no program and waits for nobody, so one poll has to do.
fn of_secret(bytes: &[u8]) -> Result<Credentials, KubeconfigError> {
    let settings = MemberSettings {
        hub_id: Arc::from("hub"),
        member_namespace: Arc::from("volsync-system"),
        volsync_namespace: Arc::from("volsync-system"),
        allow_exec: true,
        allow_loopback: false,
        fence: Fence::open(),
        share: Share::Whole,
    };
    let origin = Origin::Secret(Arc::from("member"));
    let reading = pin!(read(bytes, &origin, &settings));
    match reading.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("a kubeconfig from a Secret made the hub wait for something"),
    }
}

fn check_accepted(credentials: &Credentials) {
    let server: http::Uri = credentials.server().parse().expect("the server is a URL");
    assert_eq!(server.scheme_str(), Some("https"));
    let authority = server.authority().expect("the server has a host").as_str();
    assert!(!authority.contains('@'), "{authority}");
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    assert!(!host.eq_ignore_ascii_case("localhost"));
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = address.to_canonical();
        assert!(!address.is_loopback() && !address.is_unspecified(), "{address}");
        assert!(!matches!(address, IpAddr::V4(v4) if v4.is_link_local()), "{address}");
        assert!(!matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()), "{address}");
    }
}

/// The texts under the names of credentials, and all others.
fn sort<'a>(value: &'a Value, credential: bool, secrets: &mut Vec<&'a str>, public: &mut Vec<&'a str>) {
    const CREDENTIALS: [&str; 4] = ["token", "password", "client-key-data", "exec"];
    match value {
        Value::String(text) if credential => secrets.push(text.trim()),
        Value::String(text) => public.push(text),
        Value::Array(items) => items.iter().for_each(|item| sort(item, credential, secrets, public)),
        Value::Object(fields) => {
            for (name, field) in fields {
                public.push(name);
                sort(field, credential || CREDENTIALS.contains(&name.as_str()), secrets, public);
            }
        }
        _ => {}
    }
}

//! Who this hub is: an id that members' objects and Kopia's owner records carry, kept in a ConfigMap.
//!
//! It is never taken from the hub's cluster, so that a hub that is rebuilt elsewhere can go on as itself.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use tracing::debug;

pub const NAME: &str = "volsync-hub-id";
pub const KEY: &str = "hubID";
/// Of a hub that has never run.
const NONE: &str = "none";
/// Part of a host name in Kopia's owner record and of a label value.
const LENGTH_MAX: usize = 32;
/// Between two looks whether the hub shall go on under another id: somebody waits for it.
const POLL: Duration = Duration::from_secs(5);

/// `--hub-id`, else what the ConfigMap holds, else `new`, which is then kept there. Without a new one the hub has none
/// yet, and nothing is written.
pub async fn resolve(
    client: &Client,
    namespace: &str,
    given: Option<&str>,
    new: Option<&str>,
) -> Result<String, String> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let tried = |what: &str, error: kube::Error| {
        let error = super::told(&error);
        format!("failed to {what} ConfigMap {namespace}/{NAME}, where the hub keeps its id: {error}")
    };
    if let Some(given) = given {
        return check(given).map(|()| given.to_owned());
    }
    for _ in 0..2 {
        if let Some(found) = api.get_opt(NAME).await.map_err(|error| tried("read", error))? {
            let id = of(&found).to_owned();
            return check(&id)
                .map(|()| id)
                .map_err(|error| format!("ConfigMap {namespace}/{NAME} on the hub: {error}"));
        }
        let Some(new) = new else { return Ok(NONE.to_owned()) };
        let map = ConfigMap {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            data: Some(BTreeMap::from([(KEY.to_owned(), new.to_owned())])),
            ..ConfigMap::default()
        };
        match api.create(&PostParams::default(), &map).await {
            Ok(_) => return Ok(new.to_owned()),
            // Another replica was faster; its id counts.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(tried("create", error)),
        }
    }
    Err(format!("ConfigMap {namespace}/{NAME} on the hub comes and goes; give --hub-id"))
}

/// Ends once the ConfigMap holds another usable id than this one, with that. One that is gone, or that can't be read or
/// used, says nothing.
pub async fn replaced(client: &Client, namespace: &str, id: &str) -> String {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    loop {
        tokio::time::sleep(POLL).await;
        match api.get_opt(NAME).await {
            Ok(found) => {
                let other = found.as_ref().map(of).filter(|other| *other != id && check(other).is_ok());
                if let Some(other) = other {
                    return other.to_owned();
                }
            }
            Err(error) => debug!(%error, "whether the hub's id is another one now can't be read"),
        }
    }
}

/// What a ConfigMap holds; empty where it holds none.
pub fn of(map: &ConfigMap) -> &str {
    map.data.as_ref().and_then(|data| data.get(KEY)).map(String::as_str).unwrap_or_default()
}

/// Is it usable?
pub fn check(id: &str) -> Result<(), String> {
    let plain = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let ends = !id.starts_with('-') && !id.ends_with('-');
    if id.is_empty() || id.len() > LENGTH_MAX || !plain || !ends {
        return Err(format!(
            "hub id {id:?} is not usable: 1 to {LENGTH_MAX} lower-case letters, digits and dashes, no dash at an end"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_fits_a_label_and_a_host_name() {
        assert!(check("hub-3f2a").is_ok());
        for bad in ["", "-a", "a-", "A", "a.b", "a@b", &"a".repeat(33)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}

//! `volsync-hub crd`: prints the CustomResourceDefinitions.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::api::POLICY_GROUP;
use crate::api::crd::{Kind, crd};

/// Prints the `CustomResourceDefinitions` of the hub's API as YAML.
#[derive(Clone, Debug, clap::Args)]
pub struct CrdArgs {
    /// Kinds, plurals or short names, such as KopiaMaintenance or km; all where none is given
    #[arg(value_name = "NAME", value_parser = kind)]
    pub names: Vec<Kind>,
    /// The group of KopiaMaintenance; hub.volsync.backube where VolSync's own CRD of that name is installed
    #[arg(long, value_name = "GROUP", default_value = POLICY_GROUP, value_parser = group)]
    pub group: String,
    /// Writes each to PLURAL.yaml in this directory instead of printing it
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
}

pub fn run(args: &CrdArgs) -> Result<ExitCode, String> {
    let kinds = if args.names.is_empty() { Kind::ALL.to_vec() } else { args.names.clone() };
    let mut output = io::stdout().lock();
    for (index, kind) in kinds.into_iter().enumerate() {
        let text = yaml(kind, &args.group)?;
        if let Some(directory) = &args.output_dir {
            let path = directory.join(format!("{}.yaml", kind.plural()));
            fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            continue;
        }
        let separator = if index == 0 { "" } else { "---\n" };
        match output.write_all(format!("{separator}{text}").as_bytes()) {
            // Whoever read enough is served.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written.map_err(|error| format!("cannot print the CRDs: {error}"))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One CRD, as the files in `deploy/crds` hold it.
pub fn yaml(kind: Kind, group: &str) -> Result<String, String> {
    let text = serde_saphyr::to_string(&crd(kind, group));
    text.map_err(|error| format!("cannot write the CRD of {} as YAML: {error}", kind.as_str()))
}

fn kind(name: &str) -> Result<Kind, String> {
    let known = |kind: &Kind| {
        let (short, singular) = (kind.short_name(), kind.as_str().to_ascii_lowercase());
        let name = name.to_ascii_lowercase();
        let plain = name.split('.').next().unwrap_or_default();
        [short, kind.plural(), singular.as_str()].contains(&plain)
    };
    let names = || Kind::ALL.map(Kind::as_str).join(", ");
    Kind::ALL.into_iter().find(known).ok_or_else(|| format!("there is no such CRD; known are {}", names()))
}

fn group(name: &str) -> Result<String, String> {
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let valid = name.contains('.') && name.len() <= 253 && name.split('.').all(label);
    valid.then(|| name.to_owned()).ok_or_else(|| "a group is a domain name such as hub.volsync.backube".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::api::yaml::objects;

    const COMMITTED: [(Kind, &str); 3] = [
        (Kind::KopiaMaintenance, include_str!("../../deploy/crds/kopiamaintenances.yaml")),
        (Kind::KopiaRepository, include_str!("../../deploy/crds/kopiarepositories.yaml")),
        (Kind::MemberCluster, include_str!("../../deploy/crds/memberclusters.yaml")),
    ];

    #[test]
    fn the_committed_crds_are_those_of_the_types() {
        for (kind, committed) in COMMITTED {
            let same = yaml(kind, POLICY_GROUP).unwrap() == committed;
            assert!(same, "{} has changed: run `cargo run -- crd --output-dir deploy/crds`", kind.as_str());
        }
    }

    #[test]
    fn what_is_printed_reads_back_as_the_crd() {
        for kind in Kind::ALL {
            let text = yaml(kind, "hub.volsync.backube").unwrap();
            let value = objects(&text).remove(0).unwrap().into_value().unwrap();
            assert_eq!(value, crd(kind, "hub.volsync.backube"));
            assert_eq!(value["spec"]["group"], "hub.volsync.backube");
            assert_eq!(value["metadata"]["name"], format!("{}.hub.volsync.backube", kind.plural()));
        }
    }

    #[test]
    fn kubectl_get_shows_the_columns_that_are_promised() {
        let columns = |kind, wide| {
            let crd = crd(kind, POLICY_GROUP);
            let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap().clone();
            let shown = columns.iter().filter(|column| wide || column["priority"].as_i64().unwrap_or(0) == 0);
            shown.map(|column| column["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let policy = "Schedule Priority Enabled Suspended Matched Repositories Last Next Ready Age";
        assert_eq!(columns(Kind::KopiaMaintenance, false), policy);
        let repository = "Backend Location Policy Cluster State Last Outcome Next";
        assert_eq!(columns(Kind::KopiaRepository, false), repository);
        assert_eq!(columns(Kind::KopiaRepository, true), format!("{repository} Age"));
        let member = "Reachable Synced Sources Repositories Held Paused Eligible Version Age";
        assert_eq!(columns(Kind::MemberCluster, false), member);
    }

    #[test]
    fn another_group_is_for_policies_alone_and_changes_nothing_else() {
        for (kind, committed) in COMMITTED {
            let other = yaml(kind, "hub.volsync.backube").unwrap();
            let expected = match kind {
                Kind::KopiaMaintenance => committed
                    .replace("name: kopiamaintenances.volsync.backube", "name: kopiamaintenances.hub.volsync.backube")
                    .replace("group: volsync.backube", "group: hub.volsync.backube"),
                _ => committed.to_owned(),
            };
            assert_eq!(other, expected);
        }
    }

    #[test]
    fn names_are_taken_in_every_form_that_kubectl_takes() {
        for name in ["km", "KopiaMaintenance", "kopiamaintenances", "kopiamaintenances.volsync.backube"] {
            assert_eq!(kind(name), Ok(Kind::KopiaMaintenance), "{name}");
        }
        assert!(kind("pods").unwrap_err().contains("KopiaRepository"));
        assert!(group("x.y").is_ok() && group("x").is_err() && group("X.y").is_err() && group("x..y").is_err());
    }
}

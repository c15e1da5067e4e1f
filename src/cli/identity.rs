//! `volsync-hub identity`: which repository a Secret means, computed offline by the code that the hub runs.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use crate::api::yaml::{self, YamlObject};
use crate::identity::{Cidr, Identity, IdentityProblem, Overrides, Scope, SecretFacts};
use crate::names::MemberName;

/// Says which physical repository a Secret means. Secrets with equal keys mean the same one.
///
/// Reads files only. No credential is printed.
#[derive(Args, Clone, Debug)]
pub struct IdentityArgs {
    /// The file with the Secret (YAML or JSON, the first Secret in it); `-` is standard input.
    #[arg(short = 'f', long = "filename", value_name = "SECRET.yaml")]
    pub file: PathBuf,
    /// The member cluster that the Secret is in: cluster-local addresses have a meaning there only.
    #[arg(long, value_name = "NAME")]
    pub cluster: String,
    /// The file with the `ReplicationSource` that uses the Secret: its volumes, JSON configuration and arguments count.
    #[arg(long, value_name = "RS.yaml")]
    pub source: Option<PathBuf>,
    /// The Secret's namespace, if it is not in the file (otherwise `default`).
    #[arg(long, short = 'n', value_name = "NAME")]
    pub namespace: Option<String>,
    /// Namespaces of the cluster: they decide whether `minio.store` is a Service. Without them it is taken as shared,
    /// and ambiguous. The Secret's own namespace is known.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub namespaces: Vec<String>,
    /// The cluster's DNS domain.
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,
    /// Service and Pod networks of the cluster; addresses in them are local.
    #[arg(long = "cidr", value_delimiter = ',', value_name = "NETWORK")]
    pub cidrs: Vec<Cidr>,
    /// Another name of an object store: `A=B`, each host or host:port.
    #[arg(long = "endpoint-alias", value_parser = alias, value_name = "A=B")]
    pub endpoint_aliases: Vec<(String, String)>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Yaml,
}

fn alias(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.trim().is_empty() && !to.trim().is_empty() => {
            Ok((from.trim().into(), to.trim().into()))
        }
        _ => Err("write A=B, such as minio.example.com:9000=s3.example.com".to_owned()),
    }
}

/// What is printed. The names are an interface.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct IdentityReport {
    pub valid: bool,
    pub backend: Option<&'static str>,
    pub location: Option<String>,
    /// 64 hex digits.
    pub key: Option<String>,
    /// The first 16 of them.
    pub id: Option<String>,
    /// `shared`, `cluster` or `namespace`: how far the identity holds.
    pub scope: Option<String>,
    pub ambiguous: bool,
    pub warnings: Vec<String>,
    /// A fixed word: that of an [`IdentityProblem`], or `InvalidSecret`; null where it is valid.
    pub reason: Option<&'static str>,
    /// What the reason means here, and what to do.
    pub message: Option<String>,
}

impl From<Result<Identity, IdentityProblem>> for IdentityReport {
    fn from(result: Result<Identity, IdentityProblem>) -> Self {
        let mut report = Self {
            valid: result.is_ok(),
            backend: None,
            location: None,
            key: None,
            id: None,
            scope: None,
            ambiguous: false,
            warnings: Vec::new(),
            reason: None,
            message: None,
        };
        match result {
            Ok(identity) => {
                report.backend = Some(identity.backend);
                report.key = Some(identity.key.to_string());
                report.id = Some(identity.key.id().to_string());
                report.scope = Some(identity.reach.to_string());
                report.location = Some(identity.location);
                report.ambiguous = identity.ambiguous;
                report.warnings = identity.warnings;
            }
            Err(problem) => (report.reason, report.message) = (Some(problem.reason), Some(problem.message)),
        }
        report
    }
}

/// Prints the identity. Not 0 where the Secret names no repository; an error where a file can't be read.
pub fn run(args: &IdentityArgs) -> Result<ExitCode, String> {
    let secret = read_file(&args.file)?;
    let source = args.source.as_deref().map(read_file).transpose()?;
    let report = report(args, &secret, source.as_deref())?;
    let text = match args.output {
        Format::Json => serde_json::to_string_pretty(&report).map_err(|error| error.to_string())? + "\n",
        Format::Yaml => serde_saphyr::to_string(&report).map_err(|error| error.to_string())?,
        Format::Table => table(&report),
    };
    anstream::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| format!("can't write to standard output: {error}"))?;
    Ok(if report.valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_file(path: &Path) -> Result<String, String> {
    let text =
        if path.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    text.map_err(|error| format!("can't read {}: {error}", path.display()))
}

/// The same without files: the texts of the Secret's and the source's YAML.
pub fn report(args: &IdentityArgs, secret: &str, source: Option<&str>) -> Result<IdentityReport, String> {
    let secret = object(secret, "Secret", &args.file)?;
    let data = match secret_data(&secret) {
        Ok(data) => data,
        Err(message) => return Ok(Err(IdentityProblem { reason: "InvalidSecret", message }).into()),
    };
    let source_path = args.source.clone().unwrap_or_default();
    let source = source.map(|text| object(text, "ReplicationSource", &source_path)).transpose()?;
    let mut warnings = Vec::new();
    if let Some(source) = &source {
        warnings.extend(mismatch(&secret, source));
    }
    let of_object = |object: &Value| object.pointer("/metadata/namespace").and_then(Value::as_str).map(str::to_owned);
    let named = args.namespace.clone().or_else(|| of_object(&secret)).or_else(|| source.as_ref().and_then(of_object));
    let namespace = named.unwrap_or_else(|| "default".to_owned());
    let kopia = source.as_ref().and_then(|source| source.pointer("/spec/kopia"));
    let overrides = kopia.map(Overrides::read).unwrap_or_default();
    let has_namespace = |name: &str| name == namespace || args.namespaces.iter().any(|known| known.trim() == name);
    let aliases: BTreeMap<String, String> = args.endpoint_aliases.iter().cloned().collect();
    let scope = Scope {
        member: &MemberName::from(args.cluster.as_str()),
        namespace: &namespace,
        cluster_domain: &args.cluster_domain,
        cidrs: &args.cidrs,
        has_namespace: &has_namespace,
        aliases: &aliases,
    };
    let backend = SecretFacts::read(&data).backend(&overrides);
    let mut report = IdentityReport::from(backend.and_then(|backend| backend.identity(&scope)));
    report.warnings.extend(warnings);
    Ok(report)
}

/// The first object of this kind. Errors never quote the text: it may be a Secret.
fn object(text: &str, kind: &str, path: &Path) -> Result<Value, String> {
    let mut broken = None;
    for object in yaml::objects(text) {
        match object.and_then(YamlObject::into_value) {
            Ok(value) if value.get("kind").and_then(Value::as_str) == Some(kind) => return Ok(value),
            Ok(_) => {}
            Err(error) => broken = broken.or(Some(error.line)),
        }
    }
    Err(match broken {
        Some(line) => format!("{}, line {line}: this is no YAML that can be read", path.display()),
        None => format!("{} has no {kind} in it: give a file with `kind: {kind}`", path.display()),
    })
}

/// `stringData` goes over `data`, as in the API server. No error names a value.
pub fn secret_data(secret: &Value) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut data = BTreeMap::new();
    for (key, value) in texts(secret, "data")? {
        let compact: String = value.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let bytes = STANDARD
            .decode(compact)
            .map_err(|_| format!("data.{key} is not base64 (use stringData for plain text)"))?;
        data.insert(key.to_owned(), bytes);
    }
    data.extend(texts(secret, "stringData")?.into_iter().map(|(key, value)| (key.to_owned(), value.into())));
    Ok(data)
}

fn texts<'a>(secret: &'a Value, field: &str) -> Result<Vec<(&'a str, &'a str)>, String> {
    let entries = match secret.get(field) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(entries) => entries.as_object().ok_or_else(|| format!("{field} is no mapping"))?,
    };
    let text = |(key, value): (&'a String, &'a Value)| match value {
        Value::String(text) => Ok((key.as_str(), text.as_str())),
        Value::Null => Ok((key.as_str(), "")),
        _ => Err(format!("{field}.{key} is no text: put it into quotes")),
    };
    entries.iter().map(text).collect()
}

fn mismatch(secret: &Value, source: &Value) -> Option<String> {
    let name = |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let (wanted, given) = (name(source, "/spec/kopia/repository"), name(secret, "/metadata/name"));
    (wanted.is_some() && given.is_some() && wanted != given)
        .then(|| "the ReplicationSource names another Secret in spec.kopia.repository".to_owned())
}

fn table(report: &IdentityReport) -> String {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let dash = |value: Option<&str>| value.unwrap_or("-").to_owned();
    let mut rows = vec![("VALID", yes_no(report.valid))];
    if report.valid {
        rows.extend([
            ("ID", dash(report.id.as_deref())),
            ("BACKEND", dash(report.backend)),
            ("LOCATION", dash(report.location.as_deref())),
            ("SCOPE", dash(report.scope.as_deref())),
            ("AMBIGUOUS", yes_no(report.ambiguous)),
            ("KEY", dash(report.key.as_deref())),
        ]);
    } else {
        rows.extend([("REASON", dash(report.reason)), ("MESSAGE", dash(report.message.as_deref()))]);
    }
    rows.extend(report.warnings.iter().map(|warning| ("WARNING", warning.clone())));
    rows.iter().map(|(name, value)| format!("{name:<10} {value}")).chain([String::new()]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: IdentityArgs,
    }

    fn args(extra: &[&str]) -> IdentityArgs {
        let line = ["identity", "-f", "secret.yaml", "--cluster", "c1"].iter().chain(extra);
        Line::try_parse_from(line).unwrap().args
    }

    fn secret(data: &str) -> String {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: n1}}\n{data}\n")
    }

    fn of(extra: &[&str], data: &str) -> IdentityReport {
        report(&args(extra), &secret(data), None).unwrap()
    }

    #[test]
    fn data_and_string_data_are_the_same_and_string_data_wins() {
        // "s3://bkt" and "other", in base64.
        let encoded = of(&[], "data: {KOPIA_REPOSITORY: czM6Ly9ia3Q=, KOPIA_PASSWORD: b3RoZXI=}");
        let plain = of(
            &[],
            "data: {KOPIA_REPOSITORY: b3RoZXI=}\nstringData: {KOPIA_REPOSITORY: 's3://bkt', KOPIA_PASSWORD: x}",
        );
        assert_eq!(encoded, plain);
        assert_eq!((encoded.valid, encoded.backend, encoded.scope.as_deref()), (true, Some("s3"), Some("shared")));
        assert_eq!(encoded.id.as_deref(), encoded.key.as_deref().map(|key| &key[..16]));
    }

    #[test]
    fn what_is_no_repository_is_reported_with_its_reason() {
        let report = of(&[], "stringData: {KOPIA_REPOSITORY: 's3://bkt', AWS_S3_ENDPOINT: 'localhost:9000'}");
        assert_eq!((report.valid, report.reason, report.key), (false, Some("Loopback"), None));
        assert!(report.message.is_some());
    }

    #[test]
    fn the_cluster_is_described_by_options() {
        let data = "stringData: {KOPIA_REPOSITORY: 's3://bkt', AWS_S3_ENDPOINT: 'minio.store:9000'}";
        let scope = |extra: &[&str]| of(extra, data).scope.unwrap();
        assert_eq!(scope(&[]), "shared");
        assert_eq!(scope(&["--namespaces", "a,store"]), "cluster");
        assert_eq!(scope(&["--endpoint-alias", "minio.store:9000=minio.n1.svc"]), "cluster");
        let address = "stringData: {KOPIA_REPOSITORY: 's3://bkt', AWS_S3_ENDPOINT: '10.1.2.3:9000'}";
        assert_eq!(of(&["--cidr", "10.0.0.0/8"], address).scope.unwrap(), "cluster");
        assert_eq!(of(&[], &data.replace("minio.store", "minio")).scope.unwrap(), "namespace");
    }

    #[test]
    fn a_source_changes_the_place() {
        let source = "kind: ReplicationSource\nmetadata: {namespace: n1}\nspec:\n  kopia:\n    repository: s\n    additionalArgs: [--prefix=p/]\n";
        let text = secret("stringData: {KOPIA_REPOSITORY: 's3://bkt'}");
        let with = report(&args(&[]), &text, Some(source)).unwrap();
        assert_eq!(with.location.as_deref(), Some("s3://bkt/p/ at aws"));
        let other = report(&args(&[]), &text, Some(&source.replace("repository: s", "repository: t"))).unwrap();
        assert!(other.warnings.iter().any(|warning| warning.contains("another Secret")));
    }

    #[test]
    fn unreadable_files_are_named_and_not_quoted() {
        for text in ["kind: Secret\nstringData: {A: 'hunter2", "kind: ConfigMap\ndata: {A: hunter2}", "hunter2: ["] {
            let error = report(&args(&[]), text, None).unwrap_err();
            assert!(error.contains("secret.yaml") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_secret_is_found_in_lists_and_beside_broken_documents() {
        let one =
            "apiVersion: v1\n  kind: Secret\n  metadata: {name: s}\n  stringData: {KOPIA_REPOSITORY: 's3://bkt'}\n";
        let list = format!("kind: List\nitems:\n- kind: ConfigMap\n- {one}---\nhunter2: [\n");
        assert!(report(&args(&[]), &list, None).unwrap().valid);
        let twice = secret("stringData: {KOPIA_REPOSITORY: 's3://bkt', KOPIA_REPOSITORY: 's3://other'}");
        assert!(report(&args(&[]), &twice, None).unwrap_err().contains("line 4"));
    }

    #[test]
    fn a_secret_that_the_api_server_would_refuse_is_not_valid() {
        for data in ["data: {A: hunter2!}", "stringData: {A: 22}", "stringData: [hunter2]"] {
            let report = of(&[], data);
            assert_eq!((report.valid, report.reason), (false, Some("InvalidSecret")), "{data}");
            assert!(!report.message.unwrap().contains("hunter2"));
        }
    }

    #[test]
    fn the_printed_names_are_an_interface() {
        let value = serde_json::to_value(of(&[], "stringData: {KOPIA_REPOSITORY: 's3://bkt'}")).unwrap();
        for name in ["valid", "backend", "location", "key", "id", "scope", "ambiguous", "warnings", "reason"] {
            assert!(value.get(name).is_some(), "{name}");
        }
        assert!(table(&of(&[], "")).contains("UnknownBackend"));
    }
}

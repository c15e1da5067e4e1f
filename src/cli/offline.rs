//! Reads a fleet from a directory: `hub/**/*.yaml` and `members/<name>/**/*.yaml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::identity::secret_data;
use crate::api::crd::Kind;
use crate::api::kopia_repository::{GrantRecord, KopiaRepository};
use crate::api::member_cluster::MemberCluster;
use crate::api::yaml::{self, YamlObject};
use crate::api::{HUB_GROUP, POLICY_GROUP, schema};
use crate::identity::SecretFacts;
use crate::member;
use crate::names::{MemberName, ObjectName, Place, PlacedName, RepositoryId, SourceKey};
use crate::plan::fleet::{Contact, Fleet, MemberRecord, Observation, PlanOptions, SecretState};
use crate::plan::foreign::ForeignObjects;
use crate::plan::result::Problem;
use crate::plan::{observe, references};
use crate::policy::{PolicyProblem, PolicyRecord, PolicyRules};

/// A fleet as files show it.
#[derive(Default)]
pub struct Offline {
    pub fleet: Fleet,
    /// What could not be read, and what is doubtful about what could.
    pub problems: Vec<Problem>,
    /// Some object could not be read.
    pub incomplete: bool,
    /// Every object that was read, with where it stands. Holds Secret data: never print it.
    pub objects: Vec<(Place, Value)>,
    /// How the grants of each repository came and went, as the ledger tells.
    pub histories: BTreeMap<RepositoryId, Vec<GrantRecord>>,
    clusters: BTreeMap<MemberName, MemberCluster>,
}

/// Folders deeper than this are left alone: nobody nests so far but a link that leads back.
const DEPTH_MAX: usize = 16;

/// Fails only where the directory itself can't be read.
pub fn load(directory: &Path, rules: &PolicyRules, options: &PlanOptions) -> Result<Offline, String> {
    let unreadable = |error| format!("cannot read the directory {}: {error}", directory.display());
    fs::read_dir(directory).map_err(unreadable)?;
    let mut offline = Offline::default();
    for file in offline.files(&directory.join("hub"), DEPTH_MAX) {
        offline.read(&file, &Place::Hub, rules);
    }
    let mut folders = Vec::new();
    for path in offline.entries(&directory.join("members")) {
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if path.is_dir() => folders.push((MemberName::from(name), path)),
            _ if is_yaml(&path) => offline.refuse(&path, 0, "it stands in no member's folder: members/<name>/"),
            _ => {}
        }
    }
    for (member, folder) in &folders {
        for file in offline.files(folder, DEPTH_MAX) {
            offline.read(&file, &Place::Member(member.clone()), rules);
        }
    }
    offline.register(folders.into_iter().map(|(member, _)| member).collect());
    offline.settle(options);
    Ok(offline)
}

impl Offline {
    /// Other tools' maintenance, by member.
    pub fn foreign(&self) -> BTreeMap<MemberName, ForeignObjects> {
        let mut found: BTreeMap<MemberName, ForeignObjects> = BTreeMap::new();
        for (place, value) in &self.objects {
            if let (Place::Member(member), Some((key, object))) = (place, member::foreign_of(value)) {
                found.entry(member.clone()).or_default().insert(key, object);
            }
        }
        found
    }

    /// Takes policies as if they were applied.
    pub fn try_policies(&mut self, policies: Vec<PolicyRecord>, options: &PlanOptions) {
        for record in policies {
            self.fleet.observe(observe::tried(&self.fleet, record));
        }
        self.settle(options);
    }

    /// Member folders are reachable and synced; MemberClusters without one are not reachable.
    fn register(&mut self, folders: Vec<MemberName>) {
        for member in folders {
            let record = observe::member(self.clusters.remove(&member).as_ref(), Contact::Synced);
            self.fleet.observe(Observation::Member { name: member, record: Some(record) });
        }
        for (member, cluster) in std::mem::take(&mut self.clusters) {
            // Files stand still: what is a matter of time is not over yet.
            let record = MemberRecord { away_since: None, ..observe::member(Some(&cluster), Contact::Unreachable) };
            self.fleet.observe(Observation::Member { name: member, record: Some(record) });
        }
    }

    /// A referenced Secret that is not in the files is absent where everything there is in the files.
    fn settle(&mut self, options: &PlanOptions) {
        loop {
            let wanted = references::of(&self.fleet, options);
            let absent = |secret: &PlacedName| match &secret.place {
                Place::Hub => true,
                Place::Member(member) => {
                    self.fleet.members.get(member).is_some_and(|record| record.contact == Contact::Synced)
                }
            };
            let unknown = |secret: &PlacedName| !self.fleet.secrets.contains_key(secret);
            let missing: Vec<_> = wanted.into_iter().filter(|secret| unknown(secret) && absent(secret)).collect();
            if missing.is_empty() {
                return;
            }
            self.fleet.secrets.extend(missing.into_iter().map(|secret| (secret, SecretState::Absent)));
        }
    }

    fn read(&mut self, file: &Path, place: &Place, rules: &PolicyRules) {
        let text = match fs::read(file).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => return self.refuse(file, 0, "it is not UTF-8"),
            Err(error) => return self.refuse(file, 0, &error.to_string()),
        };
        for object in yaml::objects(&text) {
            match object {
                Ok(object) => {
                    let line = object.line;
                    if let Err(message) = self.take(object, place, rules) {
                        self.refuse(file, line, &message);
                    }
                }
                Err(error) => self.refuse(file, error.line, &error.message),
            }
        }
    }

    fn take(&mut self, object: YamlObject, place: &Place, rules: &PolicyRules) -> Result<(), String> {
        let text =
            |pointer: &str| object.value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let kind = text("/kind").ok_or("it has no kind")?.to_owned();
        let version = text("/apiVersion").ok_or("it has no apiVersion")?;
        let group = version.split_once('/').map_or("", |(group, _)| group).to_owned();
        let title = object.title();
        let Some(name) = text("/metadata/name").map(str::to_owned) else {
            return Err(format!("{kind}: it has no metadata.name"));
        };
        let namespace = text("/metadata/namespace").unwrap_or("default").to_owned();
        let created = object.value.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
        let created = created.and_then(|time| time.parse::<Timestamp>().ok());
        if *place == Place::Hub && kind == "KopiaMaintenance" && [POLICY_GROUP, HUB_GROUP].contains(&group.as_str()) {
            self.take_policy(object, rules);
            return Ok(());
        }
        let value = object.into_value().map_err(|error| format!("{title}: {}", error.message))?;
        if *place == Place::Hub && group == HUB_GROUP {
            self.note_invalid(&kind, &title, &value);
        }
        let at = Header { group, kind, place: place.clone(), object: ObjectName::new(namespace, name), created };
        self.take_value(&at, &value).map_err(|message| format!("{title}: {message}"))?;
        self.objects.push((place.clone(), value));
        Ok(())
    }

    /// What an API server would refuse in the hub's own kinds is told; what can be read of them is read all the same.
    fn note_invalid(&mut self, kind: &str, title: &str, value: &Value) {
        let Some(kind) = Kind::of(kind) else { return };
        for problem in schema::check(kind, value) {
            let message = format!("{}: {}", problem.field, problem.message);
            self.problems.push(Problem { object: title.to_owned(), reason: "Invalid", message });
        }
    }

    fn take_value(&mut self, at: &Header, value: &Value) -> Result<(), String> {
        let observation = match (&at.place, at.group.as_str(), at.kind.as_str()) {
            (_, "", "Secret") => {
                let secret = PlacedName { place: at.place.clone(), object: at.object.clone() };
                let facts = SecretFacts::read(&secret_data(value)?);
                Observation::Secret { secret, state: Some(SecretState::Present(facts.into())) }
            }
            (Place::Hub, HUB_GROUP, "KopiaRepository") => {
                let id: RepositoryId = match at.object.name.strip_prefix("kr-").map(str::parse) {
                    Some(Ok(id)) => id,
                    _ => return Err("its name is not kr- and 16 lower-case hex digits".to_owned()),
                };
                let object: KopiaRepository = typed(&with_phase(value))?;
                let record = observe::ledger(&object);
                let history = object.status.map(|status| status.history);
                self.histories.extend(history.filter(|history| !history.is_empty()).map(|history| (id, history)));
                Observation::Ledger { id, record: Some(Box::new(record)) }
            }
            (Place::Hub, HUB_GROUP, "MemberCluster") => {
                self.clusters.insert(MemberName::new(at.object.name.clone()), typed(value)?);
                return Ok(());
            }
            (Place::Member(member), _, _) => match Self::member_observation(member, at, value) {
                Some(observation) => observation,
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        self.fleet.observe(observation);
        Ok(())
    }

    fn member_observation(member: &MemberName, at: &Header, value: &Value) -> Option<Observation> {
        match (at.group.as_str(), at.kind.as_str()) {
            (POLICY_GROUP, "ReplicationSource") => {
                let part = |name: &str| value.get(name).unwrap_or(&Value::Null);
                let record = observe::source(at.created, part("spec"), part("status"))?;
                let key = SourceKey { member: member.clone(), object: at.object.clone() };
                Some(Observation::Source { key, record: Some(Box::new(record)) })
            }
            ("", "Namespace") => {
                let labels = value.pointer("/metadata/labels").and_then(Value::as_object);
                let labels = labels.into_iter().flatten();
                let labels =
                    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
                Some(Observation::Namespace {
                    member: member.clone(),
                    namespace: at.object.name.clone(),
                    labels: Some(std::sync::Arc::new(labels)),
                })
            }
            ("batch", "CronJob") => Some(Observation::CronJob {
                member: member.clone(),
                name: at.object.clone(),
                record: Some(observe::cron_job(member, value)?),
            }),
            _ => None,
        }
    }

    /// A policy with whatever in it is a policy; what is wrong with it makes it invalid.
    fn take_policy(&mut self, object: YamlObject, rules: &PolicyRules) {
        let mut record = PolicyRecord::read(&object.value, rules);
        let version = object.value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let mut more: Vec<PolicyProblem> = schema::check_version(Kind::KopiaMaintenance, version).into_iter().collect();
        for key in &object.repeated {
            if decides_what_is_selected(&key.field) {
                record.claim = None;
            }
            let message = format!("stands here twice (line {})", key.line);
            more.push(PolicyProblem { field: key.field.clone(), message });
        }
        if !more.is_empty() {
            more.splice(0..0, record.settings.err().into_iter().flatten());
            record.settings = Err(more);
        }
        self.objects.push((Place::Hub, object.value));
        self.fleet.observe(Observation::Policy { name: record.name.clone(), record: Some(Box::new(record)) });
    }

    /// `line` 0: the whole file.
    fn refuse(&mut self, file: &Path, line: u64, message: &str) {
        self.incomplete = true;
        let file = file.display();
        let object = if line == 0 { file.to_string() } else { format!("{file}:{line}") };
        self.problems.push(Problem { object, reason: "Unreadable", message: message.to_owned() });
    }

    /// The YAML files below a folder, in the order of their names. A folder that is not there has none.
    fn files(&mut self, folder: &Path, depth: usize) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for path in self.entries(folder) {
            if path.is_dir() && depth > 0 {
                files.extend(self.files(&path, depth - 1));
            } else if is_yaml(&path) {
                files.push(path);
            }
        }
        files
    }

    fn entries(&mut self, folder: &Path) -> Vec<PathBuf> {
        let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
        match read() {
            Ok(mut paths) => {
                paths.sort();
                paths
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.refuse(folder, 0, &error.to_string());
                Vec::new()
            }
        }
    }
}

/// What an object is, and where.
struct Header {
    group: String,
    kind: String,
    place: Place,
    object: ObjectName,
    created: Option<Timestamp>,
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// A policy that says this twice lays claim to nothing.
fn decides_what_is_selected(field: &str) -> bool {
    const DECIDING: [&str; 4] = ["spec.repositorySelector", "spec.repository", "spec.clusterSelector", "spec.priority"];
    field == "spec"
        || DECIDING.iter().any(|deciding| {
            field.strip_prefix(deciding).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
}

/// A grant written by hand may leave its phase out; it is then one that stands.
fn with_phase(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(grant) = value.pointer_mut("/status/grant").and_then(Value::as_object_mut) {
        grant.entry("phase").or_insert_with(|| "Active".into());
    }
    value
}

/// An absent or empty spec is one without any field.
fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    let mut value = value.clone();
    if let Some(object) = value.as_object_mut() {
        let spec = object.entry("spec").or_insert(Value::Null);
        if spec.is_null() {
            *spec = Value::Object(Map::new());
        }
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

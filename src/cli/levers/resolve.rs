//! Which repositories are meant: by id, by location, by the policy that rules them, or all.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::near::{hint, near};
use crate::api::kopia_repository::{GrantPhase, GrantStatus, KopiaRepository, KopiaRepositoryStatus};
use crate::names::{RepositoryId, RepositoryKey};
use crate::plan::merge::{self, Links};

/// Where all names stand.
const SEE: &str = "`kubectl get kopiarepositories` lists them";

/// One physical repository: every KopiaRepository that means it, the one whose status the hub keeps first.
#[derive(Clone, Debug)]
pub struct Repository<'a> {
    records: Vec<(RepositoryId, &'a KopiaRepository)>,
}

/// What a name may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// `CLUSTER/NAMESPACE/NAME`: only the members know what that is.
    MayBeSource,
    /// None, or several; for people.
    Error(String),
}

impl<'a> Repository<'a> {
    pub fn records(&self) -> impl Iterator<Item = &'a KopiaRepository> {
        self.records.iter().map(|(_, record)| *record)
    }

    /// The one whose status the hub keeps.
    pub fn first(&self) -> &'a KopiaRepository {
        self.records[0].1
    }

    pub fn name(&self) -> String {
        self.records[0].0.ledger_name()
    }

    pub fn status(&self) -> Option<&'a KopiaRepositoryStatus> {
        self.first().status.as_ref()
    }

    pub fn location(&self) -> &'a str {
        self.status().and_then(|status| status.location.as_deref()).unwrap_or_default()
    }

    pub fn policy(&self) -> Option<&'a str> {
        self.status()?.policy.as_deref()
    }

    pub fn grant(&self) -> Option<&'a GrantStatus> {
        self.granted().map(|(_, grant)| grant)
    }

    /// The record that has the grant, and the grant.
    pub fn granted(&self) -> Option<(&'a KopiaRepository, &'a GrantStatus)> {
        let grants = self.records().filter_map(|record| Some((record, record.status.as_ref()?.grant.as_ref()?)));
        grants.max_by_key(|(_, grant)| grant.epoch)
    }

    /// Status names every member with sources of it, and not just the first ones.
    pub fn lists_all_clusters(&self) -> bool {
        self.status().is_some_and(|status| status.cluster_count == i64::try_from(status.clusters.len()).ok())
    }

    /// The latest end of all its freezes, over or not: that is the one that counts.
    pub fn frozen_until(&self) -> Option<Timestamp> {
        self.records().filter_map(|record| Some(record.spec.frozen_until.as_ref()?.0)).max()
    }

    /// Why it is frozen or pinned.
    pub fn reason(&self) -> Option<&'a str> {
        let mut reasons = self.records().filter_map(|record| record.spec.reason.as_deref());
        reasons.find(|reason| !reason.is_empty())
    }

    /// Several, where its records contradict each other; then the hub follows none.
    pub fn pins(&self) -> Vec<&'a str> {
        let mut pins: Vec<&str> = self.records().filter_map(|record| record.spec.cluster.as_deref()).collect();
        pins.sort_unstable();
        pins.dedup();
        pins
    }

    fn shown(&self) -> String {
        match self.location() {
            "" => self.name(),
            location => format!("{} ({location})", self.name()),
        }
    }
}

/// All of them, sorted; records that mean one repository (`sameAs`, one unique id) are taken together as the hub does.
pub fn repositories(objects: &[KopiaRepository]) -> Vec<Repository<'_>> {
    let objects: BTreeMap<RepositoryId, &KopiaRepository> =
        objects.iter().filter_map(|object| Some((object.id()?, object))).collect();
    let links = objects.iter().map(|(id, object)| (*id, links(*id, object))).collect();
    let mut repositories: Vec<Repository<'_>> = merge::groups(&links)
        .into_iter()
        .map(|group| {
            let mut records: Vec<_> =
                group.ids.iter().filter_map(|id| objects.get(id).map(|object| (*id, *object))).collect();
            // The sort is stable: among equals the smallest id stands for all.
            records.sort_by_key(|(_, record)| std::cmp::Reverse(rank(record)));
            Repository { records }
        })
        .filter(|repository| !repository.records.is_empty())
        .collect();
    repositories.sort_by_key(|repository| repository.records[0].0);
    repositories
}

/// A status that tells of another repository than the name says counts for nothing.
fn links(id: RepositoryId, object: &KopiaRepository) -> Links<'_> {
    let status = object.status.as_ref();
    let foreign = status
        .and_then(|status| status.key.as_deref())
        .is_some_and(|key| key.parse::<RepositoryKey>().is_ok_and(|key| key.id() != id));
    Links {
        unique_id: status.filter(|_| !foreign).and_then(|status| status.unique_id.as_deref()),
        same_as: object.spec.same_as.as_deref(),
        distinct_from: object.spec.distinct_from.as_deref(),
    }
}

/// The hub keeps the status of the one that has sources.
fn rank(object: &KopiaRepository) -> u8 {
    match &object.status {
        Some(status) if status.source_count.unwrap_or(0) > 0 => 2,
        Some(status) if status.key.is_some() => 1,
        _ => 0,
    }
}

/// By its id, with or without `kr-`; by its location, with or without the `at ENDPOINT` behind it.
pub fn by_name<'r, 'a>(repositories: &'r [Repository<'a>], name: &str) -> Result<&'r Repository<'a>, Unresolved> {
    if let Ok(id) = name.parse::<RepositoryId>() {
        return by_id(repositories, id).map_err(Unresolved::Error);
    }
    for fits in [|location: &str, name: &str| location == name, begins_with] {
        let found: Vec<_> = repositories.iter().filter(|repository| fits(repository.location(), name)).collect();
        match found[..] {
            [] => {}
            [found] => return Ok(found),
            _ => {
                let names: Vec<String> = found.iter().map(|found| found.shown()).collect();
                let message = format!("{name:?} is the location of several: name one by its id: {}", names.join(", "));
                return Err(Unresolved::Error(message));
            }
        }
    }
    if is_source(name) {
        return Err(Unresolved::MayBeSource);
    }
    let locations = near(name, repositories.iter().map(Repository::location));
    let shown = |repository: &&Repository<'_>| locations.contains(&repository.location());
    let names: Vec<String> = repositories.iter().filter(shown).map(Repository::shown).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Err(Unresolved::Error(format!(
        "no KopiaRepository on the hub has the id or location {name:?}: {}",
        hint(&names, SEE)
    )))
}

fn begins_with(location: &str, name: &str) -> bool {
    location.strip_prefix(name).is_some_and(|rest| rest.starts_with(" at "))
}

pub fn by_id<'r, 'a>(repositories: &'r [Repository<'a>], id: RepositoryId) -> Result<&'r Repository<'a>, String> {
    let found = repositories.iter().find(|repository| repository.records.iter().any(|(other, _)| *other == id));
    found.ok_or_else(|| {
        let ids: Vec<String> = repositories.iter().flat_map(|it| &it.records).map(|(id, _)| id.ledger_name()).collect();
        let wanted = id.ledger_name();
        let near = near(&wanted, ids.iter().map(String::as_str));
        format!("there is no KopiaRepository {wanted} on the hub: {}", hint(&near, SEE))
    })
}

/// `CLUSTER/NAMESPACE/NAME`; locations have other forms.
fn is_source(name: &str) -> bool {
    !name.contains(':') && name.split('/').count() == 3 && name.split('/').all(|part| !part.is_empty())
}

/// Those that a policy rules.
pub fn by_policy<'a>(repositories: &[Repository<'a>], policy: &str) -> Result<Vec<Repository<'a>>, String> {
    let ruled = repositories.iter().filter(|repository| repository.policy() == Some(policy));
    let ruled: Vec<Repository<'a>> = ruled.cloned().collect();
    if ruled.is_empty() {
        let near = near(policy, repositories.iter().filter_map(Repository::policy));
        let hint = hint(&near, "the column POLICY of `kubectl get kopiarepositories` tells which do");
        return Err(format!("the KopiaMaintenance {policy:?} rules no repository: {hint}"));
    }
    Ok(ruled)
}

/// Those whose grant is at this member, or was before a claim that is under way.
pub fn by_holder<'a>(repositories: &[Repository<'a>], member: &str) -> Vec<Repository<'a>> {
    let held = |repository: &&Repository<'a>| {
        repository.grant().is_some_and(|grant| {
            let before = grant.from.as_ref().filter(|_| grant.phase == GrantPhase::Claiming);
            grant.cluster == member || before.is_some_and(|from| from.cluster == member)
        })
    };
    repositories.iter().filter(held).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{held, name, record};
    use super::*;

    fn found(objects: &[KopiaRepository], wanted: &str) -> Result<String, Unresolved> {
        by_name(&repositories(objects), wanted).map(Repository::name)
    }

    fn error(objects: &[KopiaRepository], wanted: &str) -> String {
        match found(objects, wanted) {
            Err(Unresolved::Error(message)) => message,
            other => unreachable!("{wanted}: {other:?}"),
        }
    }

    #[test]
    fn a_repository_is_found_by_its_id_and_by_its_location_with_and_without_the_endpoint() {
        let objects = [held(1, &json!({})), held(2, &json!({})), record(3, &json!({}), &json!({}))];
        for wanted in ["kr-0000000000000002", "0000000000000002", "s3://bucket-2/ at aws", "s3://bucket-2/"] {
            assert_eq!(found(&objects, wanted), Ok(name(2)), "{wanted}");
        }
        assert_eq!(found(&objects, "0000000000000003"), Ok(name(3)), "one without a status");
    }

    #[test]
    fn unknown_and_ambiguous_names_are_told_with_those_that_are_near() {
        let elsewhere = json!({"location": "s3://bucket-1/ at minio"});
        let mut objects = vec![held(1, &json!({})), record(4, &json!({}), &elsewhere), held(2, &json!({}))];
        let ambiguous = error(&objects, "s3://bucket-1/");
        assert!(ambiguous.contains(&name(1)) && ambiguous.contains("(s3://bucket-1/ at minio)"), "{ambiguous}");
        let unknown = error(&objects, "bucket-2");
        assert!(unknown.contains("did you mean kr-0000000000000002 (s3://bucket-2/ at aws)?"), "{unknown}");
        let id = error(&objects, "kr-0000000000000003");
        assert!(id.contains("no KopiaRepository kr-0000000000000003") && id.contains(&name(1)), "{id}");
        let nothing = error(&objects, "gs://elsewhere/");
        assert!(nothing.ends_with("`kubectl get kopiarepositories` lists them"), "{nothing}");
        objects.push(record(5, &json!({}), &elsewhere));
        assert!(error(&objects, "s3://bucket-1/ at minio").contains(&name(5)), "two of one location");
    }

    #[test]
    fn three_parts_with_slashes_may_be_a_source_and_locations_never_are() {
        let objects = [held(1, &json!({}))];
        assert_eq!(found(&objects, "east/shop/data"), Err(Unresolved::MayBeSource));
        for no_source in ["east/shop", "east//data", "s3://bucket/a", "a/b/c/d"] {
            assert!(matches!(found(&objects, no_source), Err(Unresolved::Error(_))), "{no_source}");
        }
    }

    #[test]
    fn records_of_one_repository_are_one_and_the_one_with_sources_stands_for_it() {
        let (unique, key) = (json!({"uniqueID": "u"}), |id: &str| format!("{id}{}", "0".repeat(48)));
        let objects = [
            record(1, &json!({"sameAs": name(2), "cluster": "east"}), &unique),
            held(2, &json!({"cluster": "west", "frozenUntil": "2026-03-02T00:00:00Z", "reason": "because"})),
            record(3, &json!({"distinctFrom": name(1)}), &json!({"uniqueID": "u"})),
            record(4, &json!({}), &json!({"uniqueID": "u", "key": key("000000000000ffff")})),
            record(5, &json!({}), &json!({"uniqueID": "u", "key": key("0000000000000005")})),
        ];
        let repositories = repositories(&objects);
        let names: Vec<String> = repositories.iter().map(Repository::name).collect();
        assert_eq!(names, [name(2), name(3), name(4)], "the status of 4 is not its own");
        assert_eq!(repositories[0].records().count(), 3, "by sameAs, and by the unique id");
        assert_eq!(repositories[0].pins(), ["east", "west"]);
        assert_eq!(repositories[0].reason(), Some("because"));
        assert!(repositories[0].frozen_until().is_some());
        for id in ["kr-0000000000000001", "kr-0000000000000005"] {
            assert_eq!(found(&objects, id), Ok(name(2)));
        }
    }

    #[test]
    fn a_member_names_what_it_holds_and_what_it_held_before_a_claim() {
        let claiming = json!({"grant": {"cluster": "west", "epoch": 2, "phase": "Claiming",
                                        "from": {"cluster": "east", "epoch": 1}}});
        let objects = [held(1, &json!({})), record(2, &json!({}), &claiming), record(3, &json!({}), &json!({}))];
        let repositories = repositories(&objects);
        let names =
            |member: &str| -> Vec<String> { by_holder(&repositories, member).iter().map(Repository::name).collect() };
        assert_eq!((names("east"), names("west")), (vec![name(1), name(2)], vec![name(2)]));
        assert!(names("north").is_empty());
    }

    #[test]
    fn a_policy_names_what_it_rules_and_one_that_rules_nothing_is_an_error() {
        let objects = [held(1, &json!({})), record(2, &json!({}), &json!({"policy": "weekly"})), held(3, &json!({}))];
        let repositories = repositories(&objects);
        let names: Vec<String> = by_policy(&repositories, "nightly").unwrap().iter().map(Repository::name).collect();
        assert_eq!(names, [name(1), name(3)]);
        let error = by_policy(&repositories, "nihgtly").unwrap_err();
        assert!(error.ends_with("did you mean nightly?"), "{error}");
        assert!(by_policy(&repositories, "").is_err());
    }
}

//! The sources of one repository key in one member, and what planning asks of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::names::{MemberName, ObjectName, PolicyName, SourceKey};
use crate::plan::fleet::{Fleet, Labels, SourceRecord, SourceRepository};
use crate::plan::levers::Levers;
use crate::plan::outlook::Outlook;
use crate::plan::readiness::Meaning;
use crate::plan::selector::{self, Subject};
use crate::policy::{PolicyClaim, PolicyTarget};

/// A digest answers for all sources, so that planning need not look at each of them.
#[derive(Debug, Default)]
pub struct Slice {
    /// Sources that share a Secret share its meaning.
    pub sources: BTreeMap<ObjectName, Arc<Meaning>>,
    /// None: some source, label or policy has changed since.
    digest: Option<Box<Digest>>,
}

#[derive(Debug, Default)]
pub struct Digest {
    pub total: u32,
    pub ready: u32,
    /// Some source backed up well the last time.
    pub synced: bool,
    pub outlook: Outlook,
    /// Of the policies that select, by name; those that match nothing here have no entry. A list, because most slices
    /// have one or two, and a map sets aside room for eleven.
    pub policies: Vec<(PolicyName, Chosen)>,
}

/// What one policy's choice among the sources comes to.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    pub matched: usize,
    /// The oldest that is matched and ready; where none is ready, the oldest that is matched.
    pub best: Option<Aged>,
}

/// A source by age, then by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aged {
    /// Its Secret can be used, and does not rest.
    pub ready: bool,
    created: Timestamp,
    pub source: ObjectName,
    /// The name of its Secret.
    secret: Arc<str>,
    pub not_ready: Option<&'static str>,
    /// It backed up well the last time.
    pub synced: bool,
}

impl Aged {
    pub fn secret(&self) -> ObjectName {
        ObjectName { namespace: self.source.namespace.clone(), name: self.secret.clone() }
    }

    fn is_before(&self, other: &Self) -> bool {
        (!self.ready, self.created, &self.source) < (!other.ready, other.created, &other.source)
    }
}

impl Chosen {
    /// Takes in what the same policy chose among other sources of the same repository and member.
    pub fn merge(&mut self, other: &Self) {
        self.matched += other.matched;
        if let Some(met) = &other.best
            && self.best.as_ref().is_none_or(|best| met.is_before(best))
        {
            self.best = Some(met.clone());
        }
    }
}

/// Who looks at a slice: the fleet, and the member that the slice belongs to.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub fleet: &'a Fleet,
    pub member: &'a MemberName,
}

impl View<'_> {
    /// Does the policy look at this member at all?
    pub fn admits(self, claim: &PolicyClaim) -> bool {
        let unlabelled = Labels::new();
        let labels = self.fleet.members.get(self.member).map_or(&unlabelled, |record| &record.labels);
        selector::admits(&claim.clusters, self.member, labels)
    }
}

impl Slice {
    pub fn forget(&mut self) {
        self.digest = None;
    }

    /// Meanings of equal contents are kept once.
    pub fn insert(&mut self, source: ObjectName, meaning: Arc<Meaning>) {
        let known = self.sources.values().next().filter(|known| ***known == *meaning).cloned();
        self.sources.insert(source, known.unwrap_or(meaning));
        self.digest = None;
    }

    /// The digest, if it is up to date.
    pub fn known(&self) -> Option<&Digest> {
        self.digest.as_deref()
    }

    pub fn digest(&mut self, view: View<'_>) -> &Digest {
        let Self { sources, digest } = self;
        digest.get_or_insert_with(|| Box::new(Digest::of(sources, view)))
    }

    /// Has the policy an entry? Where the digest is out of date it may have.
    pub fn may_be_chosen_by(&self, name: &PolicyName) -> bool {
        self.digest.as_deref().is_none_or(|digest| digest.choice_of(name).is_some())
    }

    /// Brings one policy's entry up to date. True: it matches something, or did.
    pub fn reconsider(&mut self, view: View<'_>, name: &PolicyName, claim: Option<&PolicyClaim>) -> bool {
        let Some(digest) = &mut self.digest else { return true };
        let chosen = claim.map(|claim| choose(&self.sources, view, claim, |_| false)).filter(|it| it.matched > 0);
        let after = chosen.is_some();
        let place = digest.policies.binary_search_by(|(known, _)| known.cmp(name));
        if let Ok(at) = place {
            digest.policies.remove(at);
        }
        let at = place.unwrap_or_else(|at| at);
        if let Some(chosen) = chosen {
            digest.policies.insert(at, (name.clone(), chosen));
        }
        place.is_ok() || after
    }

    /// A policy's choice while some Secrets rest: looks at every source.
    pub fn choose_rested(
        &self,
        view: View<'_>,
        claim: &PolicyClaim,
        (levers, now): (&Levers<'_>, Timestamp),
    ) -> Chosen {
        choose(&self.sources, view, claim, |secret| levers.rests(view.member, secret, now).is_some())
    }
}

impl Digest {
    pub fn choice_of(&self, name: &PolicyName) -> Option<&Chosen> {
        let at = self.policies.binary_search_by(|(known, _)| known.cmp(name)).ok()?;
        self.policies.get(at).map(|(_, chosen)| chosen)
    }

    fn of(sources: &BTreeMap<ObjectName, Arc<Meaning>>, view: View<'_>) -> Self {
        let mut digest = Self::default();
        for (source, meaning) in sources {
            digest.total = digest.total.saturating_add(1);
            digest.ready = digest.ready.saturating_add(u32::from(meaning.not_ready.is_none()));
            digest.outlook.add(meaning);
            digest.synced |= record(view, source).is_some_and(|record| record.last_sync_succeeded);
        }
        for policy in view.fleet.policies.values() {
            let Some(claim) = &policy.claim else { continue };
            let chosen = choose(sources, view, claim, |_| false);
            if chosen.matched > 0 {
                digest.policies.push((policy.name.clone(), chosen));
            }
        }
        digest.policies.shrink_to_fit();
        digest
    }
}

fn record<'a>(view: View<'a>, source: &ObjectName) -> Option<&'a SourceRecord> {
    view.fleet.sources.get(&SourceKey { member: view.member.clone(), object: source.clone() })
}

/// Does a policy that selects match this source?
pub fn selects(view: View<'_>, claim: &PolicyClaim, source: &ObjectName, record: &SourceRecord) -> bool {
    let (PolicyTarget::Selector { pattern, namespaces }, SourceRepository::Secret(secret)) =
        (&claim.target, &record.repository)
    else {
        return false;
    };
    let unlabelled = Labels::new();
    let of_member = view.fleet.namespaces.get(view.member);
    let subject = Subject {
        member: view.member,
        member_labels: view.fleet.members.get(view.member).map_or(&unlabelled, |member| &member.labels),
        namespace: &source.namespace,
        namespace_labels: of_member.and_then(|labels| labels.get(&source.namespace)).map(|labels| &**labels),
        secret,
    };
    selector::unmet(pattern, namespaces, &claim.clusters, subject).next().is_none()
}

fn choose(
    sources: &BTreeMap<ObjectName, Arc<Meaning>>,
    view: View<'_>,
    claim: &PolicyClaim,
    rests: impl Fn(&ObjectName) -> bool,
) -> Chosen {
    let mut chosen = Chosen::default();
    // Most policies name some clusters, and are done with the others without a look at their sources.
    if !matches!(claim.target, PolicyTarget::Selector { .. }) || !view.admits(claim) {
        return chosen;
    }
    for (source, meaning) in sources {
        let Some(record) = record(view, source).filter(|record| selects(view, claim, source, record)) else { continue };
        let SourceRepository::Secret(name) = &record.repository else { continue };
        let secret = ObjectName { namespace: source.namespace.clone(), name: name.clone() };
        let ready = meaning.not_ready.is_none() && !rests(&secret);
        let one = Aged {
            ready,
            created: record.created.unwrap_or(Timestamp::MAX),
            source: source.clone(),
            secret: secret.name,
            not_ready: meaning.not_ready,
            synced: record.last_sync_succeeded,
        };
        chosen.merge(&Chosen { matched: 1, best: Some(one) });
    }
    chosen
}

//! What stands in a large simulated fleet, as its numbers and its seed say: the same each time.

/// Sources of one namespace; a namespace a team.
pub const SOURCES_A_NAMESPACE: usize = 25;
/// One of so many sources has its repository from somewhere in the fleet, so that members share some.
const ROAMING: u64 = 16;

/// How large a fleet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    pub members: usize,
    /// Of each member.
    pub sources: usize,
    /// Of the whole fleet; each has a source at least.
    pub repositories: usize,
    pub seed: u64,
}

/// A repository, and what its Secrets say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryPlan {
    /// Of its Secret in each namespace.
    pub secret: String,
    pub url: String,
    /// As the simulated store knows it.
    pub location: String,
    pub password: String,
}

/// A source of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePlan {
    pub namespace: String,
    pub name: String,
    pub repository: usize,
    /// The minute of the day at which it backs up.
    pub minute: u64,
}

pub const ENDPOINT: &str = "s3.example.com";

impl Scheme {
    pub fn member(&self, index: usize) -> String {
        format!("member-{index:04}")
    }

    /// Of the cluster of this name: makes its UIDs and tokens.
    pub fn seed_of(&self, cluster: &str) -> u64 {
        cluster.bytes().fold(mix(self.seed, 0), |seed, byte| mix(seed, u64::from(byte)))
    }

    pub fn repository(&self, index: usize) -> RepositoryPlan {
        let bucket = format!("backups-{index:06}");
        RepositoryPlan {
            secret: format!("repository-{index:06}"),
            url: format!("s3://{bucket}/"),
            location: format!("s3 {ENDPOINT} {bucket}"),
            password: format!("{:016x}", mix(mix(self.seed, 1), index as u64)),
        }
    }

    pub fn namespace(&self, source: usize) -> String {
        format!("team-{:02}", source / SOURCES_A_NAMESPACE)
    }
    pub fn namespaces(&self) -> usize {
        self.sources.div_ceil(SOURCES_A_NAMESPACE)
    }

    pub fn source(&self, member: usize, source: usize) -> SourcePlan {
        let number = member * self.sources + source;
        let drawn = mix(mix(self.seed, 2), number as u64);
        SourcePlan {
            namespace: self.namespace(source),
            name: format!("data-{source:04}"),
            repository: self.repository_of(number, drawn),
            minute: drawn % (24 * 60),
        }
    }

    /// Sources side by side share one, but for those that roam. The first that has a repository never does.
    fn repository_of(&self, number: usize, drawn: u64) -> usize {
        let all = self.members * self.sources;
        let own = |number: usize| number * self.repositories / all;
        let first = number == 0 || own(number - 1) != own(number);
        if first || !(drawn >> 32).is_multiple_of(ROAMING) {
            return own(number);
        }
        self.draw_below(3, number as u64, self.repositories)
    }

    /// A number below `bound` for each `number`; `what` keeps draws for different ends apart.
    pub fn draw_below(&self, what: u64, number: u64, bound: usize) -> usize {
        let drawn = mix(mix(self.seed, what), number) % (bound.max(1) as u64);
        usize::try_from(drawn).unwrap_or_default()
    }
}

/// `SplitMix64`: close numbers give far ones.
pub fn mix(seed: u64, number: u64) -> u64 {
    let mut mixed = seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_repository_has_a_source_and_members_share_some() {
        let scheme = Scheme { members: 20, sources: 30, repositories: 100, seed: 7 };
        let mut users = vec![BTreeSet::new(); scheme.repositories];
        for member in 0..scheme.members {
            for source in 0..scheme.sources {
                users[scheme.source(member, source).repository].insert(member);
            }
        }
        assert!(users.iter().all(|members| !members.is_empty()));
        let shared = users.iter().filter(|members| members.len() > 1).count();
        assert!((10..60).contains(&shared), "{shared} of 100 are shared");
    }

    #[test]
    fn where_there_are_as_many_repositories_as_sources_each_has_its_own() {
        let scheme = Scheme { members: 3, sources: 7, repositories: 21, seed: 1 };
        let used: Vec<usize> = (0..21).map(|number| scheme.source(number / 7, number % 7).repository).collect();
        assert_eq!(used, (0..21).collect::<Vec<_>>());
    }

    #[test]
    fn another_seed_is_another_fleet() {
        let [one, two] = [1, 2].map(|seed| Scheme { members: 5, sources: 50, repositories: 50, seed });
        assert_ne!(one.repository(3).password, two.repository(3).password);
        assert_ne!(one.seed_of("hub"), two.seed_of("hub"));
        assert_ne!(one.seed_of("member-0001"), one.seed_of("member-0010"));
        let sources = |scheme: Scheme| (0..50).map(|source| scheme.source(2, source)).collect::<Vec<_>>();
        assert_ne!(sources(one), sources(two));
        assert_eq!(sources(one), sources(one));
    }
}

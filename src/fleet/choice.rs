//! Which members an order is for: all, a share of them, or those whose names fit a glob.

use super::scheme::{Scheme, mix};
use crate::plan::glob;

/// The simulated hub cluster, chosen by its full name alone.
pub const HUB: &str = "hub";

/// The names that are meant. `25%` takes the same members of a fleet each time, and a larger share takes them too.
pub fn members(scheme: &Scheme, chosen: &str) -> Result<Vec<String>, String> {
    let all = (0..scheme.members).map(|index| scheme.member(index));
    let found: Vec<String> = match chosen.strip_suffix('%') {
        _ if chosen == HUB => vec![HUB.to_owned()],
        Some(share) => {
            let share: f64 = share.parse().map_err(|_| format!("{chosen:?} is no share: write 0.5% or 25%"))?;
            if !(0.0..=100.0).contains(&share) {
                return Err(format!("{chosen:?} is no share of the members: write 0% to 100%"));
            }
            let mut drawn: Vec<String> = all.collect();
            drawn.sort_by_key(|name| mix(scheme.seed_of(name), 4));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            // Between nothing and all of a number of members that is exact in a float.
            drawn.truncate((share / 100.0 * scheme.members as f64).ceil() as usize);
            drawn.sort();
            return Ok(drawn);
        }
        None => all.filter(|name| glob::matches(chosen, name)).collect(),
    };
    if found.is_empty() {
        let last = scheme.member(scheme.members - 1);
        return Err(format!(
            "no cluster is called {chosen:?}: members are {} to {last}, and the hub is hub; write a name, a glob such as \
             member-00*, or a share such as 10%",
            scheme.member(0)
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_a_glob_and_a_share_choose_members() {
        let scheme = Scheme { members: 200, sources: 1, repositories: 1, seed: 3 };
        let count = |chosen: &str| members(&scheme, chosen).map(|found| found.len());
        assert_eq!(members(&scheme, "member-0007"), Ok(vec!["member-0007".to_owned()]));
        assert_eq!(members(&scheme, "hub"), Ok(vec!["hub".to_owned()]));
        for (chosen, expected) in
            [("*", 200), ("member-000?", 10), ("member-01*", 100), ("10%", 20), ("0.1%", 1), ("0%", 0), ("100%", 200)]
        {
            assert_eq!(count(chosen), Ok(expected), "{chosen}");
        }
        for chosen in ["member-0200", "", "nobody-*", "110%", "-1%", "many%", "NaN%"] {
            assert!(count(chosen).is_err(), "{chosen}");
        }
    }

    #[test]
    fn a_larger_share_holds_the_smaller_one() {
        let scheme = Scheme { members: 100, sources: 1, repositories: 1, seed: 3 };
        let (few, many) = (members(&scheme, "10%").unwrap_or_default(), members(&scheme, "30%").unwrap_or_default());
        assert!(few.iter().all(|name| many.contains(name)));
        assert_ne!(few, (0..10).map(|index| scheme.member(index)).collect::<Vec<_>>());
    }
}

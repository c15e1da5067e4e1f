//! Which names somebody who mistyped one may have meant.

/// More would be a list and no help.
const NAMES_MAX: usize = 5;

/// Names that hold the given one or are held by it, and those that are a few letters away; the nearest first.
pub fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|known| {
            let other = known.to_lowercase();
            let holds = !wanted.is_empty() && !other.is_empty() && (other.contains(&wanted) || wanted.contains(&other));
            let distance = distance(&wanted, &other);
            // A third of the letters may be others.
            (holds || distance * 3 <= wanted.chars().count()).then_some((distance, known))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(NAMES_MAX).map(|(_, name)| name).collect()
}

/// The end of an error: the near names, else some way to find the right one.
pub fn hint(near: &[&str], otherwise: &str) -> String {
    if near.is_empty() { otherwise.to_owned() } else { format!("did you mean {}?", near.join(" or ")) }
}

/// How many letters have to be put in, left out, changed, or swapped with the next one.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // One row for each letter of `one`: the distances of its beginning to every beginning of `other`.
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for line in 1..=one.len() {
        let mut row = vec![line];
        for column in 1..=other.len() {
            let differs = usize::from(one[line - 1] != other[column - 1]);
            let changed = rows[line - 1][column - 1] + differs;
            let mut least = changed.min(rows[line - 1][column] + 1).min(row[column - 1] + 1);
            let swaps =
                line > 1 && column > 1 && one[line - 1] == other[column - 2] && one[line - 2] == other[column - 1];
            if swaps {
                least = least.min(rows[line - 2][column - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first_and_those_of_another_kind_not_at_all() {
        let known = ["east-1", "east-2", "west-1", "north", "EAST"];
        assert_eq!(near("east-11", known), ["east-1", "east-2", "EAST"]);
        assert_eq!(near("wset", ["east", "west"]), ["west"]);
        assert_eq!(near("nroth", known), ["north"]);
        assert_eq!(near("south-1", ["paris"]), Vec::<&str>::new());
        assert_eq!(near("norty", known), ["north"]);
        assert_eq!(near("", known), Vec::<&str>::new());
        let cases = [("kitten", "sitting", 3), ("", "ab", 2), ("ab", "", 2), ("wset", "west", 1), ("ab", "ba", 1)];
        for (one, other, letters) in cases {
            assert_eq!(distance(one, other), letters, "{one} {other}");
        }
    }

    #[test]
    fn an_error_ends_with_near_names_or_with_where_to_look() {
        assert_eq!(hint(&["a", "b"], "see the list"), "did you mean a or b?");
        assert_eq!(hint(&[], "see the list"), "see the list");
    }
}

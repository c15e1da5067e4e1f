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
            // A third of the letters may be others, and two of five: that is one pair in the wrong order.
            (holds || distance * 3 <= wanted.chars().count() + 1).then_some((distance, known))
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

/// How many letters have to be put in, left out or changed.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], line + 1);
        for (column, same) in other.iter().map(|second| *second == letter).enumerate() {
            let above = row[column + 1];
            row[column + 1] = (corner + usize::from(!same)).min(above + 1).min(row[column] + 1);
            corner = above;
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first_and_those_of_another_kind_not_at_all() {
        let known = ["east-1", "east-2", "west-1", "north", "EAST"];
        assert_eq!(near("east-11", known), ["east-1", "east-2", "EAST"]);
        assert_eq!(near("nroth", known), ["north"]);
        assert_eq!(near("south-1", ["paris"]), Vec::<&str>::new());
        assert_eq!(near("norty", known), ["north"]);
        assert_eq!(near("", known), Vec::<&str>::new());
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("ab", "")), (3, 2, 2));
    }

    #[test]
    fn an_error_ends_with_near_names_or_with_where_to_look() {
        assert_eq!(hint(&["a", "b"], "see the list"), "did you mean a or b?");
        assert_eq!(hint(&[], "see the list"), "see the list");
    }
}

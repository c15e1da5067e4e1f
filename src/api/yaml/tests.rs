//! Documents, lines, scalars and lists as kubectl reads them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn only(text: &str) -> YamlObject {
    let mut found = objects(text);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0).unwrap()
}

#[test]
fn each_document_is_an_object_with_its_line() {
    let found =
        objects("# one\nkind: A\n---\n# nothing\n---\n\nkind: B\nmetadata: {name: b}\n--- # three\nkind: C\n...\n");
    let titles: Vec<_> = found.into_iter().map(|object| object.map(|object| (object.title(), object.line))).collect();
    let expected = [("A/(no name)", 2), ("B/b", 7), ("C/(no name)", 10)];
    assert_eq!(titles, expected.map(|(title, line)| Ok((title.to_owned(), line))));
}

#[test]
fn a_broken_document_hides_no_other_and_names_its_line() {
    let found = objects("kind: A\n---\nkind: B\n  bad: [\n---\nkind: C\n---\n- 1\n");
    assert_eq!(found.len(), 4);
    assert!(found[0].is_ok() && found[2].is_ok());
    let broken = found[1].as_ref().unwrap_err();
    assert!(broken.line == 4 && broken.message.starts_with("not valid YAML: "), "{broken}");
    assert!(!broken.message.contains("line"), "{broken}");
    let list = found[3].as_ref().unwrap_err();
    assert_eq!(list.to_string(), "line 8: a list instead of a Kubernetes object with apiVersion, kind and metadata");
}

#[test]
fn fields_are_found_on_their_lines() {
    let object = only("a:\n  b:\n  - c: 1\n    d: 2\n  - {e: 3}\n  x.y/z: \"4\"\nf: 5\n");
    let lines = ["a", "a.b", "a.b[0].d", "a.b[1].e", "a[x.y/z]", "f", "f.g", "a.b[7].c", "a.bb"];
    assert_eq!(lines.map(|field| object.line_of(field)), [1, 2, 4, 5, 6, 7, 7, 2, 1]);
    assert_eq!(child("a", "x.y/z"), "a[x.y/z]");
    assert_eq!(item(&child("a", "b"), 0), "a.b[0]");
}

#[test]
fn scalars_mean_what_kubectl_makes_of_them() {
    let text =
        "a: on\nb: 'on'\nc: 0755\nd: 1.5\ne: ~\nf:\ng: 2024-01-01\nh: 0x1F\ni: \"0755\"\nj: 1Gi\nk: |\n  x\nl: 1e3\n";
    let value = json!({"a": true, "b": "on", "c": 493, "d": 1.5, "e": null, "f": null, "g": "2024-01-01", "h": 31,
        "i": "0755", "j": "1Gi", "k": "x\n", "l": 1000});
    assert_eq!(only(text).value, value);
}

#[test]
fn anchors_and_merges_are_expanded() {
    let object = only("a: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: *a\n  x: 3\n");
    assert_eq!(object.value["b"], json!({"x": 1, "y": 2}));
    assert_eq!(object.value["c"], json!({"x": 3, "y": 2}));
    assert_eq!(object.repeated, []);
}

#[test]
fn repeated_keys_are_all_reported_and_refused_as_a_value() {
    let object = only("kind: A\nspec:\n  x: 1\n  x: 2\nkind: B\n");
    let expected = [("spec.x", 4), ("kind", 5)];
    assert_eq!(object.repeated, expected.map(|(field, line)| RepeatedKey { field: field.to_owned(), line }));
    assert_eq!(object.into_value().unwrap_err().to_string(), "line 4: the key spec.x stands here twice");
}

#[test]
fn a_text_that_would_cost_too_much_is_refused_in_time() {
    let aliases = ('a'..'i').zip('b'..='i').map(|(of, name)| {
        let nine = vec![format!("*{of}"); 9].join(", ");
        format!("{name}: &{name} [{nine}]\n")
    });
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned() + &aliases.collect::<String>();
    for text in [bomb, "[".repeat(1_000_000), "{a: ".repeat(100_000)] {
        let said = objects(&text).remove(0).unwrap_err().to_string();
        assert!(said.contains("larger or deeper than any Kubernetes object"), "{said}");
    }
}

#[test]
fn lists_yield_their_items() {
    let text =
        "kind: List\nitems:\n- kind: A\n  spec: {x: 1, x: 2}\n- 7\n- kind: B\n  metadata: {name: web, namespace: m}\n";
    let found = objects(text);
    let first = found[0].as_ref().unwrap();
    assert_eq!(first.repeated, [RepeatedKey { field: "spec.x".to_owned(), line: 4 }]);
    assert_eq!(found[1].as_ref().unwrap_err().line, 5);
    let last = found[2].as_ref().unwrap();
    assert_eq!((last.title().as_str(), last.line, last.line_of("metadata.name")), ("B/m/web", 6, 7));
}

#[test]
fn json_and_windows_line_ends_are_read() {
    assert_eq!(only("{\"kind\": \"A\", \"x\": [1, \"b\"]}").value, json!({"kind": "A", "x": [1, "b"]}));
    assert_eq!(objects("kind: A\r\n---\r\nkind: B\r\n").len(), 2);
    assert_eq!(objects("\u{feff}kind: A\n").len(), 1);
    assert_eq!(objects(""), []);
    assert_eq!(objects("# only a comment\n---\n"), []);
}

proptest! {
    #[test]
    fn no_text_stops_the_reader(text in "(\\PC|[\n\t:{}\\[\\],&*!|>'\"%@`#-]){0,200}") {
        for object in objects(&text).into_iter().flatten() {
            prop_assert!(object.line_of("spec.a[0].b[c/d]") >= 1);
        }
    }
}

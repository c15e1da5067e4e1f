//! What a test may have a Pod do instead of running its command.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

/// What happens to a Pod.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Its command is run.
    Run,
    /// It starts, writes these lines, and ends with the exit code and the termination message.
    Exit { code: i32, message: String, log: String, after: Duration },
    /// It has ended well as soon as it is seen, with this termination message; nothing is prepared for it.
    AtOnce(String),
    /// It starts and is killed for its memory: exit code 137, no termination message.
    OutOfMemory,
    /// It starts and does not end by itself.
    Hang,
    /// The container runtime can't start it, for this reason.
    CannotStart(String),
    /// It never starts: no node suits it.
    Unschedulable,
    /// It never starts: its image is not to be had.
    NoImage,
    /// It runs elsewhere; its log is this file.
    Elsewhere(PathBuf),
}

impl Answer {
    /// A run that ends at once.
    pub fn exit(code: i32, message: impl Into<String>) -> Self {
        Self::Exit { code, message: message.into(), log: String::new(), after: Duration::ZERO }
    }
}

/// An answer for the Pods of a namespace that have all of these labels.
#[derive(Clone, Debug)]
pub struct Rule {
    namespace: String,
    labels: BTreeMap<String, String>,
    answer: Answer,
    /// How many Pods it is for; `None`: all.
    left: Option<usize>,
}

impl Rule {
    /// For all Pods of `namespace` with these labels, from now on.
    pub fn new(namespace: &str, labels: &[(&str, &str)], answer: Answer) -> Self {
        Self { namespace: namespace.to_owned(), labels: owned(labels), answer, left: None }
    }

    /// Only for the next `pods` of them.
    #[must_use]
    pub fn times(self, pods: usize) -> Self {
        Self { left: Some(pods), ..self }
    }

    pub fn is_about(&self, labels: &[(&str, &str)]) -> bool {
        self.labels == owned(labels)
    }

    fn suits(&self, pod: &Pod) -> bool {
        let has = pod.labels();
        pod.namespace().is_some_and(|namespace| namespace == self.namespace)
            && self.left != Some(0)
            && self.labels.iter().all(|(key, value)| has.get(key) == Some(value))
    }
}

fn owned(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The answer for one Pod: of the newest rule that suits it, which has one Pod less left then.
pub fn answer_for(rules: &mut [Rule], pod: &Pod) -> Answer {
    let Some(rule) = rules.iter_mut().rev().find(|rule| rule.suits(pod)) else { return Answer::Run };
    if let Some(left) = &mut rule.left {
        *left -= 1;
    }
    rule.answer.clone()
}

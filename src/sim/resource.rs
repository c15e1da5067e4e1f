//! The kinds of objects that a simulated cluster serves: a fixed set of built-in ones, and those that
//! CustomResourceDefinitions add.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::events;
use super::schema::Schema;

/// A served kind.
// Each is a property of its own that the API knows as one.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug)]
pub struct Resource {
    pub group: Arc<str>,
    pub version: Arc<str>,
    pub plural: Arc<str>,
    pub singular: String,
    pub kind: String,
    pub list_kind: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    /// Has `/status`, and drops `status` from other writes.
    pub status: bool,
    /// Counts `metadata.generation`.
    pub generation: bool,
    pub schema: Schema,
    pub columns: Vec<Column>,
    /// Paths such as `spec.kind` that a field selector may name beside name and namespace.
    pub selectable: Vec<String>,
    pub custom: bool,
}

/// A print column of a Table.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    /// `string`, `integer`, `date` or `boolean`.
    pub kind: String,
    pub path: String,
    pub priority: i64,
}

/// (group, plural)
pub type ResourceId = (Arc<str>, Arc<str>);

impl Resource {
    /// Where its objects are kept; two addresses may lead to the same ones.
    pub fn id(&self) -> ResourceId {
        let group = if events::is_view(self) { "".into() } else { self.group.clone() };
        (group, self.plural.clone())
    }
    /// `jobs.batch`, `secrets`
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_string() } else { format!("{}.{}", self.plural, self.group) }
    }
    /// `Job.batch`, `Secret`
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The storage version of a CustomResourceDefinition; none if it has no such version.
    pub(super) fn of_definition(definition: &Value) -> Option<Self> {
        let spec = &definition["spec"];
        let names = &spec["names"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        let version = spec["versions"].as_array()?.iter().find(|version| version["storage"] == true)?;
        let columns = version["additionalPrinterColumns"].as_array();
        Some(Self {
            group: spec["group"].as_str()?.into(),
            version: version["name"].as_str()?.into(),
            plural: names["plural"].as_str()?.into(),
            singular: names["singular"].as_str().map_or_else(|| text(&names["kind"]).to_lowercase(), str::to_owned),
            kind: names["kind"].as_str()?.to_owned(),
            list_kind: names["listKind"].as_str().map_or_else(|| text(&names["kind"]) + "List", str::to_owned),
            namespaced: spec["scope"] == "Namespaced",
            short_names: list(&names["shortNames"]),
            categories: list(&names["categories"]),
            status: version["subresources"]["status"].is_object(),
            generation: true,
            schema: Schema::custom(version["schema"]["openAPIV3Schema"].clone()),
            columns: match columns {
                None => vec![Column::new("Age", "date", ".metadata.creationTimestamp")],
                Some(columns) => columns.iter().map(Column::of_definition).collect(),
            },
            selectable: version["selectableFields"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|field| text(&field["jsonPath"]).trim_start_matches('.').to_owned())
                .collect(),
            custom: true,
        })
    }
}

impl Column {
    fn new(name: &str, kind: &str, path: &str) -> Self {
        Self { name: name.to_owned(), kind: kind.to_owned(), path: path.to_owned(), priority: 0 }
    }
    fn of_definition(column: &Value) -> Self {
        let text = |key: &str| column[key].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            kind: text("type"),
            path: text("jsonPath"),
            priority: column["priority"].as_i64().unwrap_or(0),
        }
    }
}

/// What sets one built-in kind apart from the others.
struct BuiltIn {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
    status: bool,
    generation: bool,
    short: &'static [&'static str],
    columns: &'static [(&'static str, &'static str, &'static str)],
    selectable: &'static [&'static str],
}

const AGE: (&str, &str, &str) = ("Age", "date", ".metadata.creationTimestamp");

/// A namespaced kind without `/status` and generations.
const fn kind(group: &'static str, plural: &'static str, kind: &'static str) -> BuiltIn {
    BuiltIn {
        group,
        version: "v1",
        plural,
        kind,
        namespaced: true,
        status: false,
        generation: false,
        short: &[],
        columns: &[AGE],
        selectable: &[],
    }
}

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        namespaced: false,
        status: true,
        short: &["ns"],
        columns: &[("Status", "string", ".status.phase"), AGE],
        selectable: &["status.phase"],
        ..kind("", "namespaces", "Namespace")
    },
    BuiltIn { columns: &[("Type", "string", ".type"), AGE], selectable: &["type"], ..kind("", "secrets", "Secret") },
    BuiltIn { short: &["cm"], ..kind("", "configmaps", "ConfigMap") },
    BuiltIn { short: &["sa"], ..kind("", "serviceaccounts", "ServiceAccount") },
    BuiltIn { short: &["svc"], status: true, ..kind("", "services", "Service") },
    BuiltIn {
        status: true,
        generation: true,
        short: &["po"],
        columns: &[("Status", "string", ".status.phase"), AGE],
        selectable: &["status.phase", "spec.nodeName", "spec.serviceAccountName"],
        ..kind("", "pods", "Pod")
    },
    BuiltIn {
        short: &["ev"],
        columns: &[
            ("Last Seen", "date", ".lastTimestamp"),
            ("Type", "string", ".type"),
            ("Reason", "string", ".reason"),
            ("Object", "string", ".involvedObject.name"),
            ("Message", "string", ".message"),
        ],
        selectable: &[
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.kind",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "type",
        ],
        ..kind("", "events", "Event")
    },
    BuiltIn {
        short: &["ev"],
        columns: &[
            ("Type", "string", ".type"),
            ("Reason", "string", ".reason"),
            ("Object", "string", ".regarding.name"),
            ("Message", "string", ".note"),
            AGE,
        ],
        selectable: &["reason", "type"],
        ..kind("events.k8s.io", "events", "Event")
    },
    BuiltIn {
        status: true,
        generation: true,
        columns: &[
            ("Status", "string", ".status.conditions[-1:].type"),
            ("Succeeded", "integer", ".status.succeeded"),
            ("Failed", "integer", ".status.failed"),
            AGE,
        ],
        selectable: &["status.successful"],
        ..kind("batch", "jobs", "Job")
    },
    BuiltIn {
        status: true,
        generation: true,
        short: &["cj"],
        columns: &[
            ("Schedule", "string", ".spec.schedule"),
            ("Timezone", "string", ".spec.timeZone"),
            ("Suspend", "boolean", ".spec.suspend"),
            ("Last Schedule", "date", ".status.lastScheduleTime"),
            AGE,
        ],
        ..kind("batch", "cronjobs", "CronJob")
    },
    BuiltIn { status: true, generation: true, short: &["deploy"], ..kind("apps", "deployments", "Deployment") },
    BuiltIn {
        columns: &[("Holder", "string", ".spec.holderIdentity"), AGE],
        ..kind("coordination.k8s.io", "leases", "Lease")
    },
    BuiltIn {
        namespaced: false,
        status: true,
        generation: true,
        short: &["crd", "crds"],
        columns: &[("Created At", "date", ".metadata.creationTimestamp")],
        ..kind("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition")
    },
    BuiltIn {
        namespaced: false,
        ..kind("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview")
    },
    BuiltIn { namespaced: false, ..kind("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview") },
];

/// One copy for all clusters of the process.
pub(super) static BUILT_IN_RESOURCES: LazyLock<Vec<Arc<Resource>>> =
    LazyLock::new(|| BUILT_IN.iter().map(|built_in| Arc::new(built_in.resource())).collect());

pub(super) const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");
/// Of its kinds nothing is kept: one asks, and is answered.
pub(super) const REVIEWS: &str = "authorization.k8s.io";

impl BuiltIn {
    fn resource(&self) -> Resource {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Resource {
            group: self.group.into(),
            version: self.version.into(),
            plural: self.plural.into(),
            singular: self.kind.to_lowercase(),
            kind: self.kind.to_owned(),
            list_kind: format!("{}List", self.kind),
            namespaced: self.namespaced,
            short_names: owned(self.short),
            categories: Vec::new(),
            status: self.status,
            generation: self.generation,
            schema: Schema::built_in(),
            columns: self.columns.iter().map(|(name, kind, path)| Column::new(name, kind, path)).collect(),
            selectable: owned(self.selectable),
            custom: false,
        }
    }
}

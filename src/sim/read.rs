//! Lists: filters, pages that stay at one resourceVersion, and the meanings of `resourceVersion`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::failure::Failure;
use super::present::Form;
use super::request::{Query, Target};
use super::resource::Resource;
use super::selector::{FieldSelector, LabelSelector};
use super::store::{Filter, Inner, Key, Table};

/// What a list asks for.
#[derive(Debug)]
pub(super) struct ListOptions {
    filter: Filter,
    limit: Option<u64>,
    after: Option<(u64, Key)>,
    exact: Option<u64>,
}

pub(super) fn filter(target: &Target, query: &Query, resource: &Resource) -> Result<Filter, Failure> {
    let mut filter = Filter {
        namespace: target.namespace.clone(),
        labels: LabelSelector::parse(query.get("labelSelector").unwrap_or_default())?,
        fields: FieldSelector::parse(query.get("fieldSelector").unwrap_or_default(), resource)?,
    };
    // `/namespaces/NAME` is the namespace, not a place.
    if !resource.namespaced {
        filter.namespace = None;
    }
    Ok(filter)
}

impl ListOptions {
    pub(super) fn read(target: &Target, query: &Query, resource: &Resource) -> Result<Self, Failure> {
        let after = query.get("continue").map(parse_continue).transpose()?;
        let version = query.resource_version()?;
        if after.is_some() && version.is_some_and(|version| version > 0) {
            let message = "specifying resource version is not allowed when using continue";
            return Err(Failure::bad_request(message));
        }
        let exact = match query.get("resourceVersionMatch") {
            Some("Exact") => version,
            // With a limit an old resourceVersion means exactly that one.
            None if query.get("limit").is_some() => version.filter(|&version| version > 0),
            _ => None,
        };
        // From the watch cache (`0`) lists come whole.
        let limit = if version == Some(0) { None } else { query.number("limit")?.filter(|&limit| limit > 0) };
        Ok(Self { filter: filter(target, query, resource)?, limit, after, exact })
    }
    pub(super) fn continues(&self) -> bool {
        self.after.is_some()
    }
}

fn parse_continue(token: &str) -> Result<(u64, Key), Failure> {
    let refused = || Failure::bad_request("invalid continue token: continue key is not valid");
    let text = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
    let token: Value = serde_json::from_slice(&text).map_err(|_| refused())?;
    let part = |name: &str| token[name].as_str().ok_or_else(refused);
    Ok((token["rv"].as_u64().ok_or_else(refused)?, (part("ns")?.into(), part("name")?.into())))
}

/// A page that continues a list whose version is forgotten.
pub(super) fn token_expired() -> Failure {
    Failure::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter.",
    )
}

impl Inner {
    /// A page as it is sent.
    pub(super) fn list(
        &mut self,
        resource: &Resource,
        options: &ListOptions,
        asked: Option<u64>,
        form: Form,
    ) -> Result<Bytes, Failure> {
        let (current, now) = (self.resource_version, self.now());
        if let Some(asked) = asked.filter(|&asked| asked > current) {
            return Err(Failure::too_large(asked, current));
        }
        let at = options.after.as_ref().map(|(version, _)| *version).or(options.exact);
        let table = self.table(resource);
        let objects = match at {
            Some(version) => table.at(version).ok_or_else(|| match options.after {
                Some(_) => token_expired(),
                None => Failure::expired(format!("The resourceVersion for the provided list is too old: {version}")),
            })?,
            None => Cow::Borrowed(&table.objects),
        };
        let limit = options.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let after = options.after.as_ref().map(|(_, key)| key);
        let (page, remaining) = Table::page(&objects, &options.filter, after, limit);
        let version = at.unwrap_or(current);
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if let (Some(last), true) = (page.last(), remaining > 0) {
            let token = json!({"rv": version, "ns": &*last.namespace, "name": &*last.name}).to_string();
            metadata["continue"] = URL_SAFE_NO_PAD.encode(token).into();
            if options.filter.labels.is_empty() && options.filter.fields.is_empty() {
                metadata["remainingItemCount"] = remaining.into();
            }
        }
        let items: Vec<Bytes> = page.into_iter().map(|object| object.json.clone()).collect();
        Ok(form.list(&items, resource, &metadata, now))
    }
}

//! Members at a glance: as `members list` shows them, those first that something is wrong with.

use jiff::Timestamp;

use super::{Listing, Row, named, shown, summary};
use crate::api::member_cluster::MemberCluster;
use crate::cli::levers::Hub;
use crate::cli::members;
use crate::cli::output::Cell;
use crate::cli::wrong;
use crate::hub::kinds;

const WIDE: [&str; 3] = ["LABELS", "CLUSTER UID", "VOLSYNC IMAGE"];

pub async fn listing(hub: &Hub, names: &[String], now: Timestamp) -> Result<Listing, String> {
    let objects = named(hub.objects(&kinds::member_cluster(), "MemberClusters").await?, names, "members")?;
    let rows: Vec<Row> = objects
        .iter()
        .filter_map(|object| {
            let typed: MemberCluster = object.clone().try_parse().ok()?;
            let member = members::member(&typed);
            let labels: Vec<String> = member.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let wide = vec![
                Cell::from(labels.join(",")),
                member.cluster_uid.as_deref().unwrap_or_default().into(),
                member.volsync_image.as_deref().unwrap_or_default().into(),
            ];
            let worst = wrong::worst(&wrong::of_member(&typed));
            Some(Row { objects: vec![shown(object)], worst, cells: members::cells(&member, now), wide })
        })
        .collect();
    let summary = if rows.is_empty() {
        members::NONE.to_owned()
    } else {
        let troubled = rows.iter().filter(|row| row.worst > wrong::Level::Ok).count();
        summary(rows.len(), ("member", "members"), "", troubled)
    };
    Ok(Listing { headings: &members::HEADINGS, wide: &WIDE, rows, summary })
}

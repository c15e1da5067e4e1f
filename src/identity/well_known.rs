//! Object stores whose bucket names are global, however they are addressed.

use super::address::Host;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Aws {
        partition: &'static str,
        /// The name says S3, and not just Amazon.
        says_s3: bool,
    },
    Google,
    Backblaze,
}

/// `region` decides where the host does not: a client at `s3.amazonaws.com` goes to the endpoint of its region, and
/// those of China and of the United States' government are stores of their own.
pub(crate) fn store(host: &Host, region: Option<&str>) -> Option<Store> {
    let Host::Name(name) = host else { return None };
    if name.ends_with(".amazonaws.com.cn") {
        return Some(aws("aws-cn", name));
    }
    if name.ends_with(".amazonaws.com") {
        let of_government = |label: &str| label.contains("us-gov-");
        let region = region.map(str::to_lowercase).unwrap_or_default();
        let partition = match () {
            () if name.split('.').any(of_government) || region.starts_with("us-gov-") => "aws-us-gov",
            () if region.starts_with("cn-") => "aws-cn",
            () => "aws",
        };
        return Some(aws(partition, name));
    }
    let labels: Vec<&str> = name.split('.').collect();
    match labels[..] {
        ["s3", _, "backblazeb2", "com"] => Some(Store::Backblaze),
        ["storage" | "commondatastorage", "googleapis", "com"] | ["storage", _, "rep", "googleapis", "com"] => {
            Some(Store::Google)
        }
        _ => None,
    }
}

fn aws(partition: &'static str, name: &str) -> Store {
    Store::Aws { partition, says_s3: name.split('.').any(|label| label.starts_with("s3")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn known(host: &str, region: Option<&str>) -> Option<Store> {
        store(&Host::parse(host).unwrap(), region)
    }

    #[test]
    fn every_name_of_amazon_falls_into_its_partition() {
        let partition = |host: &str| match known(host, None) {
            Some(Store::Aws { partition, .. }) => partition,
            other => panic!("{host}: {other:?}"),
        };
        for host in [
            "s3.amazonaws.com",
            "S3.eu-west-1.amazonaws.com.",
            "s3.dualstack.eu-west-1.amazonaws.com",
            "s3-fips.us-east-2.amazonaws.com",
            "s3-accelerate.amazonaws.com",
            "bucket.vpce-1a2b-3c4d.s3.us-east-1.vpce.amazonaws.com",
        ] {
            assert_eq!(partition(host), "aws");
        }
        assert_eq!(partition("s3.cn-north-1.amazonaws.com.cn"), "aws-cn");
        assert_eq!(partition("s3-fips.us-gov-west-1.amazonaws.com"), "aws-us-gov");
        assert!(matches!(known("x.elb.amazonaws.com", None), Some(Store::Aws { says_s3: false, .. })));
    }

    #[test]
    fn a_region_of_another_partition_decides_at_the_common_endpoint() {
        let at = |region| known("s3.amazonaws.com", Some(region));
        assert!(matches!(at("cn-north-1"), Some(Store::Aws { partition: "aws-cn", .. })));
        assert!(matches!(at("us-gov-east-1"), Some(Store::Aws { partition: "aws-us-gov", .. })));
        assert!(matches!(at("eu-west-1"), Some(Store::Aws { partition: "aws", .. })));
    }

    #[test]
    fn names_that_only_look_alike_are_nobodys() {
        for host in [
            "amazonaws.com",
            "s3.amazonaws.com.evil.example",
            "s3.backblazeb2.com",
            "x.storage.googleapis.com",
            "192.0.2.1",
        ] {
            assert_eq!(known(host, None), None, "{host}");
        }
    }
}

//! Members from a directory of kubeconfigs.

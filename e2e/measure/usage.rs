//! What a process has used so far.

use procfs::process::Process;

use crate::harness::Fail;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub cpu_s: f64,
    /// Memory that is in RAM now, and at most so far.
    pub rss_mb: f64,
    pub peak_mb: f64,
}

#[expect(clippy::cast_precision_loss, reason = "ticks and kilobytes of minutes still fit")]
pub fn of(pid: u32) -> Result<Usage, Fail> {
    let process = Process::new(i32::try_from(pid)?)?;
    let (stat, status) = (process.stat()?, process.status()?);
    let mb = |kilobytes: Option<u64>| kilobytes.unwrap_or_default() as f64 / 1024.0;
    Ok(Usage {
        cpu_s: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        rss_mb: mb(status.vmrss),
        peak_mb: mb(status.vmhwm),
    })
}

/// The processors of this machine by name, how many there are, and how many tasks want one.
pub fn machine() -> serde_json::Value {
    use procfs::{CpuInfo, Current as _, LoadAverage, Meminfo};
    let model = CpuInfo::current().ok().and_then(|info| info.model_name(0).map(str::to_owned));
    let load = LoadAverage::current().map(|load| load.one).ok();
    let memory = Meminfo::current().map(|info| info.mem_total / (1 << 30)).ok();
    serde_json::json!({
        "cpu": model, "cores": std::thread::available_parallelism().map_or(0, usize::from), "memory_gb": memory,
        "load_at_start": load, "os": std::env::consts::OS, "arch": std::env::consts::ARCH,
    })
}

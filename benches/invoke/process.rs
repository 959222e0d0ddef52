//! The CPU time and the memory that a process has used so far, from `/proc`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The maximum wait until all threads of a process sleep.
const MAX_WAIT: Duration = Duration::from_millis(200);

/// The CPU time of all threads in ms. `schedstat` counts nanoseconds, while the ticks of `/proc/PID/stat` are 10 ms. Waits
/// until every thread sleeps, because Linux updates the time of a running thread late.
pub async fn cpu_ms(pid: u32) -> Result<f64> {
    let start = Instant::now();
    while start.elapsed() < MAX_WAIT && !all_threads_sleep(pid)? {
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    let mut nanoseconds = 0;
    for thread in threads(pid)? {
        let schedstat = fs::read_to_string(thread.join("schedstat"))?;
        let on_cpu = schedstat.split_whitespace().next().context("schedstat is empty")?;
        nanoseconds += on_cpu.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e6)
}

/// The largest amount of memory that was resident at one time, in MB.
pub fn peak_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kb: f64 = line.split_whitespace().next().context("VmHWM is empty")?.parse()?;
    Ok(kb * 1024.0 / 1e6)
}

fn all_threads_sleep(pid: u32) -> Result<bool> {
    for thread in threads(pid)? {
        let stat = fs::read_to_string(thread.join("stat"))?;
        // The state follows the name, which is in parentheses and may contain parentheses.
        let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
        if state != Some("S") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn threads(pid: u32) -> Result<Vec<PathBuf>> {
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&folder).with_context(|| format!("reading {folder}, which only Linux has"))?;
    threads.map(|entry| Ok(entry?.path())).collect()
}

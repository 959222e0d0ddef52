//! What a process has cost so far, as Linux counts it in `/proc`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Longest wait for a process to come to rest.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// CPU time in ms of all threads, to the nanosecond: the ticks of `/proc/PID/stat` are 10 ms. Waits until
/// every thread sleeps, since the time of a running one is told late.
pub async fn cpu_ms(pid: u32) -> Result<f64> {
    let start = Instant::now();
    while start.elapsed() < LONGEST_WAIT && !sleeps(pid)? {
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

/// The most memory that was resident at a time, in MB.
pub fn peak_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kb: f64 = line.split_whitespace().next().context("VmHWM is empty")?.parse()?;
    Ok(kb * 1024.0 / 1e6)
}

fn sleeps(pid: u32) -> Result<bool> {
    for thread in threads(pid)? {
        let stat = fs::read_to_string(thread.join("stat"))?;
        // After the name, which is in parentheses and may have some itself.
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

//! The C library's heap, for a server that runs for months.
#![allow(unsafe_code)]

/// Arenas that all threads share.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: std::ffi::c_int = 2;

/// Keeps the heap together. glibc gives up to eight arenas a core to threads that allocate at the same time, and what is freed in
/// one serves no thread of another: a server whose devices have all been away and come again holds half as much again as it
/// uses. To be called before there are threads.
pub(crate) fn keep_together() {
    // SAFETY: mallopt(3) takes no pointers; its one hazard is other threads that allocate meanwhile ("MT-Unsafe
    // init const:mallopt"), and there are none yet. A refusal changes nothing but the use of memory.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

//! Interrupts and exceptions, and how a program starts.

use riscv::register::{mcause, mepc, mtval};

use otaria_wire::messages::ResetReason;

use crate::{clint, executor, net, plic, reset};

/// Called by the trap entry, with interrupts off.
#[doc(hidden)]
pub extern "C" fn handle_trap() {
    // RISC-V privileged specification 20211203, table 3.6.
    const SOFTWARE: usize = 3;
    const TIMER: usize = 7;
    const EXTERNAL: usize = 11;
    let cause = mcause::read();
    match (cause.is_interrupt(), cause.code()) {
        (true, SOFTWARE) => executor::interrupt(),
        (true, TIMER) => clint::interrupt(),
        (true, EXTERNAL) => plic::interrupt(net::interrupt),
        (is_interrupt, code) => {
            let (at, value) = (mepc::read(), mtval::read());
            let what = if is_interrupt {
                "interrupt"
            } else {
                "exception"
            };
            crate::println!("{what} {code} at {at:#010x}, mtval {value:#010x}");
            reset::reset(
                ResetReason::Panic,
                format_args!("{what} {code} at {at:#010x}, mtval {value:#010x}"),
            )
        }
    }
}

/// Lets interrupts come. Before that, time stands still.
pub(crate) fn enable_interrupts() {
    // RISC-V privileged specification 20211203, figure 3.15: MSIE, MTIE, MEIE.
    const ALL: usize = 1 << 3 | 1 << 7 | 1 << 11;
    // SAFETY: all three have handlers, and `entry!` has set `mtvec`. No critical section is open: this is called at the start of
    // `main`, see `Machine::take`.
    unsafe {
        riscv::register::mie::write(riscv::register::mie::Mie::from_bits(ALL));
        riscv::interrupt::enable();
    }
}

/// Called by a panic handler: leaves word of it and resets.
#[doc(hidden)]
pub fn handle_panic(info: &core::panic::PanicInfo<'_>) -> ! {
    riscv::interrupt::disable();
    crate::println!("{info}");
    // Message and place; `PanicInfo` begins with "panicked at ".
    reset::reset(ResetReason::Panic, format_args!("{info}"))
}

/// Makes a function the start of a program for the virtual board: `fn main(slot: u32) -> !`, where `slot` is what the loader
/// has put into register `a0` (see [`crate::Machine::take`]).
///
/// It also brings the trap entry and the panic handler, so a program uses it once.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // `_start`: the loader jumps here with interrupts off; RAM is as it was, so the stack is painted (see `stack`) and .bss
        // cleared. The stack is aligned to 16 (RISC-V psABI).
        // `_trap`: saves what a function may change (ra, t0-t6, a0-a7; psABI, "Integer Register Convention"); the handlers use no
        // others, as code for RV32IMC has no floating point. `mtvec` wants it aligned to 4 (privileged specification 20211203, 3.1.7).
        ::core::arch::global_asm!(
            ".section .init, \"ax\"",
            ".global _start",
            "_start:",
            "    csrw mie, zero",
            "    la sp, _stack_top",
            "    la t0, _stack_bottom",
            "    li t1, {paint}",
            "0:  bgeu t0, sp, 1f",
            "    sw t1, 0(t0)",
            "    addi t0, t0, 4",
            "    j 0b",
            "1:",
            "    la t0, _bss_start",
            "    la t1, _bss_end",
            "2:  bgeu t0, t1, 3f",
            "    sw zero, 0(t0)",
            "    addi t0, t0, 4",
            "    j 2b",
            "3:  la t0, _trap",
            "    csrw mtvec, t0",
            "    call {main}",
            "4:  j 4b",
            ".section .text._trap, \"ax\"",
            ".balign 4",
            "_trap:",
            "    addi sp, sp, -64",
            "    sw ra, 0(sp)",
            "    sw t0, 4(sp)",
            "    sw t1, 8(sp)",
            "    sw t2, 12(sp)",
            "    sw t3, 16(sp)",
            "    sw t4, 20(sp)",
            "    sw t5, 24(sp)",
            "    sw t6, 28(sp)",
            "    sw a0, 32(sp)",
            "    sw a1, 36(sp)",
            "    sw a2, 40(sp)",
            "    sw a3, 44(sp)",
            "    sw a4, 48(sp)",
            "    sw a5, 52(sp)",
            "    sw a6, 56(sp)",
            "    sw a7, 60(sp)",
            "    call {trap}",
            "    lw ra, 0(sp)",
            "    lw t0, 4(sp)",
            "    lw t1, 8(sp)",
            "    lw t2, 12(sp)",
            "    lw t3, 16(sp)",
            "    lw t4, 20(sp)",
            "    lw t5, 24(sp)",
            "    lw t6, 28(sp)",
            "    lw a0, 32(sp)",
            "    lw a1, 36(sp)",
            "    lw a2, 40(sp)",
            "    lw a3, 44(sp)",
            "    lw a4, 48(sp)",
            "    lw a5, 52(sp)",
            "    lw a6, 56(sp)",
            "    lw a7, 60(sp)",
            "    addi sp, sp, 64",
            "    mret",
            paint = const $crate::stack::PAINT,
            main = sym __otaria_virt_main,
            trap = sym $crate::trap::handle_trap,
        );

        extern "C" fn __otaria_virt_main(slot: u32) -> ! {
            let main: fn(u32) -> ! = $main;
            main(slot)
        }

        #[panic_handler]
        fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::trap::handle_panic(info)
        }
    };
}

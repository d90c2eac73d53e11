//! The CPL0 code. Plain integer instructions only, and few of them.

use core::arch::global_asm;

use super::{FAULT, PENDING, report_fault, start};

// CPL3 gets its ports twice. From the I/O permission bitmap, because where CPL0 is emulated, IRETQ does not carry IOPL
// over; and by IOPL 3, because QEMU's TCG finds the bitmap only in a TSS of the type "available", and a vCPU that KVM
// restored has a busy one.
// Selectors: 0x10 and 0x18 are the monitor's flat code and data, kept so that CS needs no reload; 0x20 and 0x28 are
// data and code for CPL3; 0x30 is the TSS.
global_asm!(
    r#"
    .section .text.guest_boot, "ax"
    .global guest_boot
guest_boot:                                     // RDI = the guest's program, RSI = boot_params
    lea rsp, [rip + kernel_stack_top]
    lea rax, [rip + tss]                        // the TSS descriptor's base is in three pieces
    mov word ptr [rip + gdt + 0x32], ax
    shr eax, 16
    mov byte ptr [rip + gdt + 0x34], al
    mov byte ptr [rip + gdt + 0x37], ah
    lgdt [rip + gdt_pointer]
    mov eax, 0x30
    ltr ax

    lea rax, [rip + vectors]                    // the stubs lie 16 bytes apart
    lea rdx, [rip + idt]
    mov ecx, 64
2:  mov dword ptr [rdx + 4], eax                // offset bits 31..16, then
    mov word ptr [rdx], ax                      // offset bits 15..0
    mov word ptr [rdx + 2], 0x10
    mov word ptr [rdx + 4], 0x8e00              // present interrupt gate
    add rax, 16
    add rdx, 16
    dec ecx
    jnz 2b
    lidt [rip + idt_pointer]

    push 0x23                                   // SS
    lea rax, [rip + user_stack_top - 8]         // as after a call
    push rax
    push 0x3202                                 // interrupts enabled, IOPL 3
    push 0x2b                                   // CS
    lea rax, [rip + {start}]
    push rax
    iretq

    .balign 16
vectors:
    .set vector, 0
    .rept 32
    .balign 16
    .if vector == 13
    jmp general_protection
    .else
    .ifeq (vector - 8) * (vector - 10) * (vector - 11) * (vector - 12) * (vector - 14) * (vector - 17) * (vector - 21)
    .else
    push 0                                      // no error code was pushed: keep the frame's shape
    .endif
    push vector
    jmp fault
    .endif
    .set vector, vector + 1
    .endr
    .set line, 0
    .rept 32
    .balign 16
    or dword ptr [rip + {pending}], 1 << line
    iretq
    .set line, line + 1
    .endr

    .balign 16
general_protection:                             // stack: error code, RIP, CS, RFLAGS, RSP, SS
    push rax
    mov rax, [rsp + 16]
    cmp byte ptr [rax], 0xf4                    // HLT at CPL3 is a request to sleep
    jne 4f
    inc qword ptr [rsp + 16]
    cmp dword ptr [rip + {pending}], 0
    jne 3f
    sti                                         // takes effect behind HLT: no wake-up falls in between
    hlt
    cli
3:  pop rax
    add rsp, 8
    iretq
4:  pop rax
    push 13

fault:                                          // stack: vector, error code, RIP, CS, RFLAGS, RSP, SS
    lea rdi, [rip + {fault}]
    mov ecx, 6
5:  pop rax
    mov [rdi], rax
    add rdi, 8
    dec ecx
    jnz 5b
    mov rax, cr2
    mov [rdi], rax
    lea rsp, [rip + kernel_stack_top]
    push 0x23
    lea rax, [rip + fault_stack_top - 8]
    push rax
    push 0x3202
    push 0x2b
    lea rax, [rip + {report_fault}]
    push rax
    iretq

    .section .data.guest_boot, "aw"
    .balign 16
gdt:
    .quad 0, 0
    .quad 0x00af9b000000ffff                    // 0x10 code, CPL0
    .quad 0x00cf93000000ffff                    // 0x18 data, CPL0
    .quad 0x00cff3000000ffff                    // 0x20 data, CPL3
    .quad 0x00affb000000ffff                    // 0x28 code, CPL3
    .quad 0x0000890000000168, 0                 // 0x30 TSS, base filled in above
gdt_end:
    .balign 16
tss:
    .long 0
    .quad kernel_stack_top                      // the stack of CPL0
    .zero 90
    .word 104                                   // where the I/O permission bitmap begins
    .zero 256                                   // ports 0 to 0x7ff are open to CPL3
    .byte 0xff
    .balign 16
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
    .balign 16
idt_pointer:
    .word 64 * 16 - 1
    .quad idt

    .balign 8
    .weak image_end                             // the linker script's; a host build has none
    .global guest_image_end
guest_image_end:
    .quad image_end

    .section .bss.guest_boot, "aw", @nobits
    .balign 4096
    .global guest_idt
guest_idt:
idt:
    .zero 64 * 16
    .balign 16
    .zero 4096
kernel_stack_top:
    .zero 16384
fault_stack_top:
    .zero 262144
user_stack_top:
    .text
"#,
    start = sym start,
    report_fault = sym report_fault,
    pending = sym PENDING,
    fault = sym FAULT,
);

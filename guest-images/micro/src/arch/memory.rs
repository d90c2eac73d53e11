//! The memory routines the compiler calls. `guest.ld` gives them their C names.
//!
//! String instructions copy a cache line at a time natively, need no feature detection, and only CPL3 code comes here.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.guest_memory, "ax"
    .global guest_memcpy
    .global guest_memmove
    .global guest_memset
    .global guest_memcmp

    .balign 16
guest_memmove:                                  // RDI = to, RSI = from, RDX = bytes
    mov rax, rdi
    sub rax, rsi
    cmp rax, rdx                                // unsigned: below only if `to` lies inside `from`
    jb 4f
guest_memcpy:
    mov rax, rdi
    cmp rdx, 32
    ja 3f
    cmp rdx, 16
    jae 2f
    cmp rdx, 8
    jae 1f
    cmp rdx, 4
    jae 6f
    test rdx, rdx
    jz 5f
    movzx ecx, byte ptr [rsi]                   // 1 to 3 bytes: first, middle, last
    mov r8, rdx
    shr r8, 1
    movzx r9d, byte ptr [rsi + r8]
    movzx r10d, byte ptr [rsi + rdx - 1]
    mov [rdi], cl
    mov [rdi + r8], r9b
    mov [rdi + rdx - 1], r10b
    ret
6:  mov ecx, [rsi]                              // 4 to 7: two overlapping halves
    mov r8d, [rsi + rdx - 4]
    mov [rdi], ecx
    mov [rdi + rdx - 4], r8d
    ret
1:  mov rcx, [rsi]                              // 8 to 15
    mov r8, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + rdx - 8], r8
    ret
2:  movups xmm0, [rsi]                          // 16 to 32
    movups xmm1, [rsi + rdx - 16]
    movups [rdi], xmm0
    movups [rdi + rdx - 16], xmm1
    ret
3:  mov rcx, rdx
    rep movsb
5:  ret
4:  mov rax, rdi                                // overlapping upwards: copy from the end
    lea rdi, [rdi + rdx - 1]
    lea rsi, [rsi + rdx - 1]
    mov rcx, rdx
    std
    rep movsb
    cld
    ret

    .balign 16
guest_memset:                                   // RDI = to, ESI = byte, RDX = bytes
    mov r8, rdi
    mov eax, esi
    mov rcx, rdx
    rep stosb
    mov rax, r8
    ret

    .balign 16
guest_memcmp:                                   // RDI, RSI = the two, RDX = bytes
    xor ecx, ecx
    cmp rdx, 8
    jb 3f
2:  mov rax, [rdi + rcx]
    mov r8, [rsi + rcx]
    cmp rax, r8
    jne 4f
    add rcx, 8
    lea r9, [rcx + 8]
    cmp r9, rdx
    jbe 2b
3:  cmp rcx, rdx
    jae 5f
    movzx eax, byte ptr [rdi + rcx]
    movzx r8d, byte ptr [rsi + rcx]
    inc rcx
    sub eax, r8d
    jz 3b
    ret
4:  bswap rax                                   // the first byte decides
    bswap r8
    cmp rax, r8
    sbb eax, eax
    or eax, 1
    ret
5:  xor eax, eax
    ret
"#
);

#[cfg(test)]
mod tests {
    use crate::test_random::Random;

    unsafe extern "C" {
        fn guest_memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
        fn guest_memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
        fn guest_memset(to: *mut u8, byte: i32, bytes: usize) -> *mut u8;
        fn guest_memcmp(left: *const u8, right: *const u8, bytes: usize) -> i32;
    }

    /// Lengths around every path of the routines, then some long ones.
    fn lengths() -> impl Iterator<Item = usize> {
        (0..80).chain([127, 128, 1000, 4096])
    }

    #[test]
    fn copies_and_fills_exactly_what_it_should() {
        let from: Vec<u8> = (0..5000).map(|index| (index % 251) as u8).collect();
        for length in lengths() {
            let (mut copied, mut filled) = (vec![0xee; length + 64], vec![0xee; length + 64]);
            // SAFETY: both ranges lie in their buffers and do not overlap.
            let ends = unsafe {
                let copy = guest_memcpy(copied.as_mut_ptr().add(32), from.as_ptr().add(7), length);
                (copy, guest_memset(filled.as_mut_ptr().add(32), 0x1a5, length))
            };
            assert_eq!(ends, (copied[32..].as_mut_ptr(), filled[32..].as_mut_ptr()));
            assert_eq!(copied[32..32 + length], from[7..7 + length]);
            assert!(filled[32..32 + length].iter().all(|&byte| byte == 0xa5));
            for buffer in [copied, filled] {
                assert!(
                    buffer[..32].iter().chain(&buffer[32 + length..]).all(|&byte| byte == 0xee),
                    "{length} bytes"
                );
            }
        }
    }

    #[test]
    fn moves_overlapping_memory_both_ways() {
        for length in lengths() {
            for distance in [0, 1, 3, 8, 15, 16, 31, 33, 64] {
                let original: Vec<u8> = (0..length + 64).map(|index| (index % 251) as u8).collect();
                let (mut up, mut down) = (original.clone(), original.clone());
                // SAFETY: both ranges lie in the buffer.
                unsafe {
                    guest_memmove(up.as_mut_ptr().add(distance), up.as_ptr(), length);
                    guest_memmove(down.as_mut_ptr(), down.as_ptr().add(distance), length);
                }
                let (mut up_model, mut down_model) = (original.clone(), original);
                up_model.copy_within(..length, distance);
                down_model.copy_within(distance..distance + length, 0);
                assert!(up == up_model && down == down_model, "{length} bytes by {distance}");
            }
        }
    }

    #[test]
    fn compares_by_the_first_difference() {
        let mut random = Random::from_environment();
        for length in lengths() {
            for _ in 0..50 {
                let left: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
                let mut right = left.clone();
                for _ in 0..random.below(3) {
                    if length > 0 {
                        right[random.below(length as u64) as usize] = random.next() as u8;
                    }
                }
                // SAFETY: both buffers have that length.
                let order = unsafe { guest_memcmp(left.as_ptr(), right.as_ptr(), length) };
                assert_eq!(order.cmp(&0), left.cmp(&right), "{length} bytes");
            }
        }
    }
}

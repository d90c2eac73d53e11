//! The one vCPU: run it, complete its exits, interrupt it, read its registers.

use ftlog::RegisterFile;
use kvm_bindings::{
    KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_MMIO,
    KVM_EXIT_SHUTDOWN, KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR, kvm_regs, kvm_run,
};
use kvm_ioctls::{SyncReg, VcpuFd};

use super::{Exit, KvmError, VcpuState, interrupt, ioctl, msr};

/// Largest batch KVM hands over for one string I/O instruction: a page.
const MAX_PIO_BYTES: usize = 4096;
/// Exits of one string I/O instruction that are waited for when its machine is reset in the midst of it.
const MOST_EXITS: u32 = 64;

/// A vCPU and the exit it stands at.
pub struct Vcpu {
    fd: VcpuFd,
    /// KVM still has to finish the instruction that caused the last exit.
    incomplete: bool,
    /// The next exit of that instruction, if finishing it took another.
    next: Option<Exit>,
}

impl Vcpu {
    pub(super) fn new(mut fd: VcpuFd) -> Self {
        fd.set_sync_valid_reg(SyncReg::Register);
        Self { fd, incomplete: false, next: None }
    }

    /// Runs the guest until it exits.
    ///
    /// # Errors
    /// [`KvmError::UnexpectedExit`] for an exit that is neither a sync point nor an interruption.
    pub fn run(&mut self) -> Result<Exit, KvmError> {
        if let Some(exit) = self.next.take() {
            return Ok(exit);
        }
        match self.fd.run() {
            Ok(_) => self.decode(),
            Err(error) if error.errno() == libc::EINTR || error.errno() == libc::EAGAIN => {
                Ok(Exit::Interrupted)
            }
            Err(source) => Err(KvmError::Ioctl { what: "KVM_RUN", source }),
        }
    }

    fn decode(&mut self) -> Result<Exit, KvmError> {
        let run = self.fd.get_kvm_run();
        // SAFETY (all reads below): the member of the union is the one that `exit_reason` says the kernel filled in,
        // and every member is made of plain integers.
        #[allow(unsafe_code)]
        let exit = unsafe {
            match run.exit_reason {
                KVM_EXIT_IO => {
                    let io = run.__bindgen_anon_1.io;
                    if u32::from(io.direction) == KVM_EXIT_IO_OUT {
                        Exit::PioWrite { port: io.port, size: io.size }
                    } else {
                        Exit::PioRead { port: io.port, size: io.size }
                    }
                }
                KVM_EXIT_MMIO => {
                    let mmio = run.__bindgen_anon_1.mmio;
                    if mmio.is_write != 0 {
                        Exit::MmioWrite { gpa: mmio.phys_addr }
                    } else {
                        Exit::MmioRead { gpa: mmio.phys_addr }
                    }
                }
                KVM_EXIT_X86_RDMSR => Exit::MsrRead { index: run.__bindgen_anon_1.msr.index },
                KVM_EXIT_X86_WRMSR => {
                    let msr = run.__bindgen_anon_1.msr;
                    Exit::MsrWrite { index: msr.index, value: msr.data }
                }
                KVM_EXIT_HLT => Exit::Halt,
                _ => return Err(self.unexpected()),
            }
        };
        self.incomplete = !matches!(exit, Exit::Halt);
        Ok(exit)
    }

    fn unexpected(&mut self) -> KvmError {
        let run = self.fd.get_kvm_run();
        // SAFETY: as in `decode`.
        #[allow(unsafe_code)]
        let what = unsafe {
            match run.exit_reason {
                KVM_EXIT_SHUTDOWN => "KVM_EXIT_SHUTDOWN (the guest took a triple fault)".to_owned(),
                KVM_EXIT_INTERNAL_ERROR => {
                    let error = run.__bindgen_anon_1.internal;
                    let words = (error.ndata as usize).min(error.data.len());
                    let cause =
                        if error.suberror == 1 { "emulation failure" } else { "see KVM_INTERNAL_ERROR_*" };
                    let data = &error.data[..words];
                    format!("KVM_EXIT_INTERNAL_ERROR suberror {} ({cause}), data {data:x?}", error.suberror)
                }
                KVM_EXIT_FAIL_ENTRY => {
                    let reason = run.__bindgen_anon_1.fail_entry.hardware_entry_failure_reason;
                    format!("KVM_EXIT_FAIL_ENTRY, hardware reason {reason:#x}")
                }
                other => format!("exit reason {other}, which is no repeatable position"),
            }
        };
        KvmError::UnexpectedExit { what, registers: ftlog::describe(&self.registers()) }
    }

    /// The data of a port or MMIO exit: what the guest wrote, or where its answer goes. Empty for other exits.
    pub fn data(&mut self) -> &mut [u8] {
        let run = self.fd.get_kvm_run();
        match run.exit_reason {
            KVM_EXIT_IO => pio_data(run),
            // SAFETY: the exit reason says that the kernel filled in this member; it is made of plain integers.
            #[allow(unsafe_code)]
            KVM_EXIT_MMIO => unsafe {
                let mmio = &mut run.__bindgen_anon_1.mmio;
                let length = (mmio.len as usize).min(mmio.data.len());
                &mut mmio.data[..length]
            },
            _ => &mut [],
        }
    }

    /// Answers an exit for MSR `index`: with the constant that guests find there, or with #GP.
    pub fn answer_msr(&mut self, index: u32) {
        let run = self.fd.get_kvm_run();
        match msr::constant(index) {
            // After a write, KVM ignores what is here.
            Some(value) => run.__bindgen_anon_1.msr.data = value,
            None => run.__bindgen_anon_1.msr.error = 1,
        }
    }

    /// Has KVM finish the instruction that caused the last exit, without running any further. Until then the
    /// state cannot be saved and an interrupt cannot be injected. False when the instruction has another exit (an
    /// access that KVM splits): [`Vcpu::run`] returns that one, and only after it there is an instruction boundary.
    pub fn complete_exit(&mut self) -> Result<bool, KvmError> {
        if self.next.is_some() || !self.incomplete {
            return Ok(self.next.is_none());
        }
        self.fd.set_kvm_immediate_exit(1);
        let result = self.fd.run().map(|_| ());
        self.fd.set_kvm_immediate_exit(0);
        match result {
            Err(error) if error.errno() == libc::EINTR => {
                self.incomplete = false;
                Ok(true)
            }
            Err(source) => Err(KvmError::Ioctl { what: "KVM_RUN(immediate_exit)", source }),
            Ok(()) => {
                self.next = Some(self.decode()?);
                Ok(false)
            }
        }
    }

    /// Brings the vCPU to the end of the instruction that it stands in, so that its state can be replaced. What the rest
    /// of the instruction would say is said to nobody.
    pub fn leave_instruction(&mut self) -> Result<(), KvmError> {
        for _ in 0..MOST_EXITS {
            if self.complete_exit()? {
                return Ok(());
            }
            self.next = None;
        }
        Err(KvmError::WithinInstruction)
    }

    /// True when the guest would take an interrupt at once. Call [`Vcpu::complete_exit`] first.
    pub fn accepts_interrupt(&mut self) -> bool {
        let run = self.fd.get_kvm_run();
        run.if_flag != 0 && run.ready_for_interrupt_injection != 0
    }

    /// The guest's interrupt flag at the last exit.
    pub fn interrupt_flag(&mut self) -> bool {
        self.fd.get_kvm_run().if_flag != 0
    }

    /// Queues an interrupt for the next entry.
    pub fn inject(&mut self, vector: u8) -> Result<(), KvmError> {
        interrupt::inject(&self.fd, vector)
    }

    /// The general registers at the last exit.
    pub fn registers(&self) -> RegisterFile {
        let r = self.fd.sync_regs().regs;
        [
            r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13,
            r.r14, r.r15, r.rip, r.rflags,
        ]
    }

    /// Everything the vCPU is, at an instruction boundary.
    pub fn save(&mut self) -> Result<VcpuState, KvmError> {
        if !self.complete_exit()? {
            return Err(KvmError::WithinInstruction);
        }
        VcpuState::capture(&self.fd)
    }

    /// Puts a saved state in.
    pub fn restore(&mut self, state: &VcpuState) -> Result<(), KvmError> {
        state.apply(&self.fd)?;
        self.next = None;
        self.refresh_run_flags()
    }

    /// Sets the registers for the first entry.
    pub fn set_entry(&mut self, regs: &kvm_regs, sregs: &kvm_bindings::kvm_sregs) -> Result<(), KvmError> {
        ioctl("KVM_SET_SREGS", self.fd.set_sregs(sregs))?;
        ioctl("KVM_SET_REGS", self.fd.set_regs(regs))?;
        self.refresh_run_flags()
    }

    /// The system registers as KVM resets them.
    pub fn system_registers(&self) -> Result<kvm_bindings::kvm_sregs, KvmError> {
        ioctl("KVM_GET_SREGS", self.fd.get_sregs())
    }

    /// An entry that ends at once, so that `if_flag` and the registers in kvm_run tell of the state just set.
    fn refresh_run_flags(&mut self) -> Result<(), KvmError> {
        self.incomplete = true;
        self.complete_exit().map(drop)
    }
}

fn pio_data(run: &mut kvm_run) -> &mut [u8] {
    // SAFETY: the exit reason says that the kernel filled in `io`. `data_offset` points into the pages that the
    // kernel mapped behind kvm_run (the PIO page follows it), and a batch is at most a page.
    #[allow(unsafe_code)]
    unsafe {
        let io = run.__bindgen_anon_1.io;
        let length = (io.count as usize * usize::from(io.size)).min(MAX_PIO_BYTES);
        let start = (run as *mut kvm_run).cast::<u8>().add(io.data_offset as usize);
        std::slice::from_raw_parts_mut(start, length)
    }
}

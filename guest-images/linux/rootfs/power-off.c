// Ends the guest in order; init becomes this program (power-off STATUS), so that it is PID 1 and sees every process end.
// All processes are ended and collected, the file systems synced, the root is made read-only, and the power goes off.
// On ftvmm the kernel hands STATUS to the monitor.
#include <cpuid.h>
#include <errno.h>
#include <linux/reboot.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_SECONDS 10

// Collects processes as they end, until there are none (1) or the patience is used up (0).
static int collect(const sigset_t *child_ended)
{
    time_t end = time(NULL) + PATIENCE_SECONDS;
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0 && errno == ECHILD)
            return 1;
        if (pid != 0)
            continue;
        if (time(NULL) >= end)
            return 0;
        struct timespec second = {1, 0};
        sigtimedwait(child_ended, NULL, &second);
    }
}

static void end_all_processes(void)
{
    sigset_t child_ended;
    sigemptyset(&child_ended);
    sigaddset(&child_ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_ended, NULL);
    kill(-1, SIGTERM);
    kill(-1, SIGCONT);
    if (collect(&child_ended))
        return;
    puts("power-off: killing what does not end by itself");
    kill(-1, SIGKILL);
    collect(&child_ended);
}

static int on_ftvmm(void)
{
    unsigned eax, signature[3];
    __cpuid(0x40000000, eax, signature[0], signature[1], signature[2]);
    return memcmp(signature, "ftvmmftvmmft", 12) == 0;
}

// On ftvmm the kernel takes a status from a restart's text: powering off for others has none.
static void power_off(int status)
{
    char text[32];
    snprintf(text, sizeof text, "power-off=%d", status);
    int command = status != 0 && on_ftvmm() ? LINUX_REBOOT_CMD_RESTART2 : LINUX_REBOOT_CMD_POWER_OFF;
    syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, command, text);
    perror("power-off");
}

int main(int argc, char **argv)
{
    int status = argc > 1 ? atoi(argv[1]) : 0;
    if (getpid() != 1) {
        fprintf(stderr, "power-off: this is for init; leave the shell of the console with \"exit\"\n");
        return 1;
    }
    end_all_processes();
    sync();
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0) {
        printf("power-off: / cannot be made read-only: %s\n", strerror(errno));
        status = status ? status : 1;
    }
    sync();
    printf("power-off: status %d\n", status);
    fflush(stdout);
    power_off(status);
    return 1;
}

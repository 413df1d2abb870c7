/*
 * The floor: start a program and wait for it, one after the other, in one or
 * more processes at once. Prints tasks a second, the median and the 99th
 * percentile of the time of one task in microseconds, and the processor time of
 * a task in microseconds, its own included.
 *
 *     floor COUNT PROCESSES PROGRAM
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run(char *program, double *taken, int count)
{
    char *argv[] = {program, NULL};
    for (int i = 0; i < count; i++) {
        double begin = now();
        pid_t pid;
        int status;
        if (posix_spawn(&pid, program, NULL, NULL, argv, environ) != 0
            || waitpid(pid, &status, 0) != pid)
            _exit(1);
        taken[i] = now() - begin;
    }
}

static double spent(int who)
{
    struct rusage u;
    getrusage(who, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec
        + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int each = atoi(argv[1]) / atoi(argv[2]), processes = atoi(argv[2]);
    int count = each * processes;
    double *taken = mmap(NULL, count * sizeof *taken, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (taken == MAP_FAILED)
        return 1;
    double begin = now();
    for (int i = 1; i < processes; i++)
        if (fork() == 0) {
            run(argv[3], taken + i * each, each);
            _exit(0);
        }
    run(argv[3], taken, each);
    for (int i = 1, status; i < processes; i++)
        if (wait(&status) < 0 || status != 0)
            return 1;
    double seconds = now() - begin;
    qsort(taken, count, sizeof *taken, ascending);
    printf("%f %f %f %f\n", count / seconds, taken[count / 2] * 1e6, taken[count * 99 / 100] * 1e6,
           (spent(RUSAGE_SELF) + spent(RUSAGE_CHILDREN)) / count * 1e6);
    return 0;
}

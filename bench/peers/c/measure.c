// Runs a program and writes its CPU milliseconds, with those of all processes that it starts, and the peak of resident
// memory of the largest of them, in kB, to a file. Linux counts what a process holds when it starts another to the peak
// of that one; this one holds next to nothing.
#include <stdio.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
	if (argc < 3) {
		fprintf(stderr, "usage: measure FILE PROGRAM [ARGUMENT]...\n");
		return 2;
	}
#ifdef __linux__
	prctl(PR_SET_CHILD_SUBREAPER, 1); // what the program leaves behind becomes ours, to be waited for
#endif
	pid_t pid = fork();
	if (pid == 0) {
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		_exit(127);
	}
	int status;
	struct rusage r;
	if (pid < 0 || waitpid(pid, &status, 0) < 0) {
		perror("measure");
		return 1;
	}
	while (wait(NULL) > 0) {
	}
	getrusage(RUSAGE_CHILDREN, &r);
	FILE *f = fopen(argv[1], "w");
	if (!f) {
		perror(argv[1]);
		return 1;
	}
	fprintf(f, "%.3f %ld\n", (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e3 + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e3, r.ru_maxrss);
	fclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

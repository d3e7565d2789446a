// signals.h - what asks a run to end, and what must not end it.
//
// SIGINT (Ctrl-C), SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU (batch systems' and the shell's ways to say
// that time is up) and SIGHUP (the terminal is gone; unless it was ignored from the start, as under nohup) ask the run
// to end: what it trains ends after the epoch or record of steps, runs that are finished are kept. A second signal ends
// the program at once, as the system does it, but for SIGHUP and SIGXCPU, which systems repeat. SIGPIPE and SIGXFSZ are
// ignored: a write that fails says so where it is made.
#pragma once

namespace idem {

void ignore_write_signals();
// after_what: as the message says it.
void catch_end_signals(
    const char* after_what = "this epoch or record of steps, or what is being computed after training");
bool is_end_asked();

}  // namespace idem

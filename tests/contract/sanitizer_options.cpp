// Tasks of these tests crash on purpose: the system shall end their process then, as it ends a user's, and not the
// sanitizer. Each finds its function by its name.
extern "C" const char* __tsan_default_options();
extern "C" const char* __asan_default_options();
extern "C" const char* __ubsan_default_options();

// NOLINTBEGIN(bugprone-reserved-identifier): the sanitizers' names
extern "C" const char* __tsan_default_options() {
  return "handle_segv=0:handle_sigfpe=0:handle_abort=0:handle_sigbus=0";
}
extern "C" const char* __asan_default_options() {
  return "handle_segv=0:handle_sigfpe=0:handle_abort=0:handle_sigbus=0";
}
extern "C" const char* __ubsan_default_options() {
  return "handle_segv=0:handle_sigfpe=0:handle_abort=0:handle_sigbus=0:print_stacktrace=1";
}
// NOLINTEND(bugprone-reserved-identifier)

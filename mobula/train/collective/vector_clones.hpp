/// Marks a function that is compiled once for each width of vectors; the widest that the processor has is chosen when the
/// library is loaded. Contraction to fused multiply-add is off in standard C++ modes, so all versions give the same bits.
#pragma once

// The sanitizers' runtime isn't up yet when the choice is made, so their builds keep the plain version.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MOBULA_VECTOR_CLONES [[gnu::target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")]]
#else
#define MOBULA_VECTOR_CLONES
#endif

// A library that tests load at run time.
#include "mobula/core/gang.hpp"

namespace {

void greet(mobula::GangMember& member) {
  member.send("greetings from the plugin");
}

}  // namespace

extern "C" mobula::GangFunction mobula_test_plugin_function() {
  return &greet;
}

/// What Ray's core worker does and its C++ API does not offer: counting references that travel inside values, and
/// cancelling. The functions are exported by Ray's library; they are declared in core_worker.cpp as this version of Ray
/// has them, which is why the plug-in takes no other (see probe()).
///
/// An object is deleted when nobody refers to it. Ray counts for us who refers to what inside values, where it is told
/// (a) what an object holds (note_contents), and (b) in which object a reference was found (adopt_object). It then tells
/// the owner of the inner object of everybody who keeps a reference.
#pragma once

#include <string>
#include <vector>

namespace mobula_ray {

/// Returns what another process needs to find an object: its owner's address, and its state. Throws std::runtime_error.
std::string describe_object(const std::string& id);
/// Takes an object over that came inside `outer`; counts one reference to it. `description`: describe_object()'s.
void adopt_object(const std::string& id, const std::string& outer, const std::string& description);
/// Returns what another process needs to call an actor; sets `counted` to the object that stands for its handles.
std::string describe_actor(const std::string& actor, std::string* counted);
/// Takes over an actor that came inside `outer`; counts one reference. Returns its identity.
std::string adopt_actor(const std::string& outer, const std::string& description);
/// Gives one reference to an actor back. Ray ends the actor after its calls, once there is none.
void release_actor(const std::string& actor);

/// Returns this process's address, as note_contents() takes it.
std::string own_address();
/// Tells Ray that `outer`, an object of the process at `owner`, holds references to others.
void note_contents(const std::string& outer, const std::vector<std::string>& inner, const std::string& owner);
/// The same of the result that this thread's task returns next.
void note_result_contents(const std::vector<std::string>& inner);

}  // namespace mobula_ray

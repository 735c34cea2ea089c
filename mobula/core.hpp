/// Tasks, actors and objects: include this one header.
#pragma once

#include "mobula/core/actor.hpp"
#include "mobula/core/actor_pool.hpp"
#include "mobula/core/codec.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/gang.hpp"
#include "mobula/core/generator.hpp"
#include "mobula/core/options.hpp"
#include "mobula/core/placement.hpp"
#include "mobula/core/ref.hpp"
#include "mobula/core/runtime.hpp"
#include "mobula/core/state.hpp"
#include "mobula/core/task_group.hpp"

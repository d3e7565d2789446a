// agreement_tables.h - do label-free and with-label latents, seeds and animals find the same latent?
#pragma once

#include <string>
#include <vector>

#include "host/report/groups.h"

namespace idem {

// The question of the whole program, one row per model.
std::string same_latent_table(const StudyResult& study, const std::vector<ModelGroup>& groups);

// Do animals share a latent? One row per model: every ordered pair of animals. Empty where none were compared.
std::string animals_table(const StudyResult& study);

}  // namespace idem

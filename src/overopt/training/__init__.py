"""The stages: supervised fine-tuning, reward model, online and offline preference optimization. No Trainer."""

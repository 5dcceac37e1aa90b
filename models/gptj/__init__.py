"""Summaries of CNN/DailyMail articles by GPT-J 6B."""
